"""Refunds by a provider of ours: ordered with what they are owed for, made by the sweeper until confirmed or refused.

An order is tried by one process at a time, and what an earlier try may have done is looked up at the provider before
the next: so a refund is made once, whatever crashed in between.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.adapters.payment_provider import Providers
from ticket_service.domain import cancellations as cancelling
from ticket_service.domain import notifications
from ticket_service.domain import refund_orders as domain
from ticket_service.domain.cancellations import Cancellation
from ticket_service.domain.holds import Payment
from ticket_service.domain.ledger import EntryKind, refund_entry
from ticket_service.domain.payments import RefundProgress
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus
from ticket_service.store import cancellations as cancellation_store
from ticket_service.store import ledger, outbox
from ticket_service.store import refund_orders as store
from ticket_service.store.cancellations import is_of_organizer
from ticket_service.store.events import lock_event
from ticket_service.store.holds import lock_purchases
from ticket_service.store.tables import cancellations as table
from ticket_service.use_cases.holds import give_back
from ticketing.chassis.authentication import Caller
from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure

log = logging.getLogger(__name__)

# In one sweep: so many that even at a provider which hangs it is over before others may look at them.
MAX_SWEEP: Final = 32
# Longer than a sweep takes, so that no two processes try at once.
SHORTEST_RETRY_SECONDS: Final = 20.0
LONGEST_RETRY_SECONDS: Final = 900.0


class Refunds:
    """The refunds.

    Args:
        database: where the orders are.
        providers: by name.
        clock: the present time.
    """

    def __init__(self, database: Database, providers: Providers, clock: Clock) -> None:
        self._database = database
        self._providers = providers
        self._clock = clock

    async def retry(self, caller: Caller, cancellation_id: UUID) -> Cancellation:
        """Ask anew for a refund that was refused, of an event of `caller`; said again, nothing changes.

        Raises:
            Failure: CANCELLATION_NOT_FOUND, or ILLEGAL_TRANSITION where none is due.
        """
        conditions = [table.c.cancellation_id == cancellation_id, is_of_organizer(caller.subject)]
        now = self._clock()

        def work(connection: Connection) -> Cancellation:
            found = cancellation_store.lock_cancellation(connection, conditions)
            if found is None:
                message = "there is no such cancellation"
                raise Failure(Reason.CANCELLATION_NOT_FOUND, message, cancellation_id=cancellation_id)
            asked = cancelling.refund_asked_anew(found)
            if asked is found:
                return found
            order = store.find(connection, found.event_id, cancellation_id)
            if order is not None:
                store.update(connection, domain.asked_anew(order, now))
            cancellation_store.update_cancellations(connection, [asked])
            return asked

        return await self._database.run(work)

    async def sweep(self) -> bool:
        """Try what is due; tell whether there may be more to do at once."""
        due = await self._database.run(self._take)
        await asyncio.gather(*(self._try(order) for order in due))
        return len(due) == MAX_SWEEP

    def _take(self, connection: Connection) -> Sequence[RefundOrder]:
        """Claim what is due: nobody else's until this try must have failed."""
        now = self._clock()
        taken = []
        for order in store.take_due(connection, now, MAX_SWEEP):
            spread = backoff_seconds(order.attempts, first=1, longest=LONGEST_RETRY_SECONDS - SHORTEST_RETRY_SECONDS)
            tried = domain.tried(order, now, timedelta(seconds=SHORTEST_RETRY_SECONDS + spread))
            store.update(connection, tried)
            ledger.enter(connection, refund_entry(tried, EntryKind.REFUND_TRIED), now)
            taken.append(tried)
        return taken

    async def _try(self, order: RefundOrder) -> None:
        provider = self._providers.get(order.provider)
        if provider is None:
            log.error("a refund is due by a provider that is not configured", extra=_facts(order))
            return
        try:
            progress = await provider.refund(order)
            await self._database.run(lambda connection: settle(connection, order, progress, self._clock()))
        except Failure as failure:
            log.warning("a refund is tried again later", extra={**_facts(order), "reason": failure.reason})


def settle(connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime) -> None:
    """Store what the provider answered, once: with it what the refund was owed for."""
    if order.cancellation_id is not None:
        _settle_cancellation(connection, order, progress, now)
    else:
        _settle_payment(connection, order, progress, now)


def _settle_cancellation(connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime) -> None:
    its = [table.c.event_id == order.event_id, table.c.cancellation_id == order.cancellation_id]
    cancellation = cancellation_store.lock_cancellation(connection, its)
    status = _progress(connection, order, progress, now)
    if cancellation is None or status is None:
        return
    if status is RefundOrderStatus.DONE:
        settled = cancelling.refunded(cancellation, progress.refund_id or "", now)
        told = notifications.refunded(settled)
    else:
        settled = cancelling.refund_refused(cancellation, progress.failure or "")
        told = notifications.refund_failed(settled)
    cancellation_store.update_cancellations(connection, [settled])
    outbox.write(connection, [told], now)


def _settle_payment(connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime) -> None:
    lock_event(connection, order.event_id)
    [purchase] = lock_purchases(connection, order.event_id, [order.purchase_id])
    if _progress(connection, order, progress, now) is RefundOrderStatus.DONE:
        payment = Payment(order.payment_id, (order.currency, order.amount), order.provider)
        give_back(connection, purchase, payment, progress.refund_id or "", now)


def _progress(
    connection: Connection, order: RefundOrder, progress: RefundProgress, now: datetime
) -> RefundOrderStatus | None:
    """Store how far an order is; return the status that it has now come to, if it has to one."""
    stored = store.find(connection, order.event_id, order.order_id)
    if stored is None or (stored.status, stored.round) != (RefundOrderStatus.PENDING, order.round):
        # Another process was first.
        return None
    after = domain.progressed(stored, progress, now)
    if after is stored:
        return None
    store.update(connection, after)
    kind = EntryKind.REFUNDED if after.status is RefundOrderStatus.DONE else EntryKind.REFUND_REFUSED
    ledger.enter(connection, refund_entry(after, kind, progress.refund_id, progress.failure or ""), now)
    if kind is EntryKind.REFUND_REFUSED:
        log.error("the provider refuses a refund", extra={**_facts(order), "failure": progress.failure})
    return after.status if after.status is not RefundOrderStatus.PENDING else None


def _facts(order: RefundOrder) -> dict[str, object]:
    return {"event_id": order.event_id, "order_id": order.order_id, "attempts": order.attempts}
