"""Record the payments that callers report of held purchases: those of one event share transactions.

A transaction of its own took 13 ms of CPU time for each payment, and locked the event meanwhile.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain import holds as domain
from ticket_service.domain.access import may_report_payments
from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.holds import Payment, PaymentResult, lost_payment
from ticket_service.domain.ledger import withdrawn_entry
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.reasons import Reason
from ticket_service.domain.refusals import payment_already_used, purchase_not_found
from ticket_service.domain.sales import Inventory
from ticket_service.store import changes, ledger
from ticket_service.store import holds as store
from ticket_service.store.changes import CallersChange
from ticket_service.store.events import organizers_of
from ticket_service.store.purchases import read_purchases
from ticket_service.use_cases.batched_reads import BatchedReads
from ticket_service.use_cases.payment_records import PaymentRecords, lock_inventory
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import MAX_SECONDS, Database
from ticketing.chassis.failures import Failure, dependency_unavailable
from ticketing.chassis.keyed_batchers import KeyedBatchers
from ticketing.chassis.logs import REQUEST_ID

# Sales of the event wait for a batch, about 1 ms for each payment: beside 64 callers who confirmed all the time, others
# bought 229 tickets a second, and 144 with batches of 64.
MAX_BATCH: Final = 16
# The payments of one event that two seconds can record.
MAX_UNDER_WAY: Final = 1_024

_Answers: TypeAlias = Sequence[Purchase | Failure | None]


@dataclass(frozen=True, slots=True)
class ReportedPayment:
    """A payment that a caller reports of a purchase, whose charge was withdrawn in the state of `purchase`."""

    caller: Caller
    request_id: str
    purchase: Purchase
    payment: Payment


class Confirmations:
    """The use case of payments that a service or the event's organizer reports; a repetition changes nothing.

    Args:
        database: the tickets database.
        records: stores the payments.
        clock: the present time.
        on_change: called after each commit that may change the feed.
    """

    def __init__(
        self, database: Database, records: PaymentRecords, clock: Clock, on_change: Callable[[], None]
    ) -> None:
        self._database = database
        self._records = records
        self._clock = clock
        self._on_change = on_change
        self._reads: BatchedReads[UUID, tuple[Purchase, str]] = BatchedReads(
            database, "confirmation reads", _read_with_organizers
        )
        self._batchers: KeyedBatchers[UUID, ReportedPayment, Purchase | None] = KeyedBatchers(
            "confirmations", self._record, max_batch=MAX_BATCH, max_under_way=MAX_UNDER_WAY
        )

    async def find(self, caller: Caller, purchase_id: UUID) -> Purchase:
        """Return a purchase whose payment `caller` may report; raise PURCHASE_NOT_FOUND if there is none."""
        found = await self._reads.get(purchase_id)
        if found is None or not may_report_payments(caller, found[1]):
            raise purchase_not_found(purchase_id)
        return found[0]

    async def check(self, purchase: Purchase, payment: Payment) -> bool:
        """Return whether a payment is not recorded yet, before the charge of the purchase is withdrawn for it.

        Raises:
            Failure: PAYMENT_ALREADY_USED or PRICE_CHANGED.
        """
        keys = _keys_of(purchase, payment)
        recorded = await self._database.run(lambda connection: store.paid_purchases(connection, keys))
        if _is_recorded(recorded, purchase, payment):
            return False
        domain.check_paid(purchase, payment)
        return True

    async def confirm(self, caller: Caller, purchase: Purchase, payment: Payment) -> Purchase | None:
        """Record a payment; the caller has withdrawn the charge of `purchase`, if it has one.

        The places stay reserved until the payment is recorded, so nobody else can take them in between.

        Returns:
            None: the payment is recorded. A purchase: another process has stored another charge meanwhile, so nothing
            was recorded; the caller withdraws that charge and repeats the call.

        Raises:
            Failure: PAYMENT_ALREADY_USED or PRICE_CHANGED; OVERLOADED or DEPENDENCY_UNAVAILABLE as `Database.run` does.
        """
        reported = ReportedPayment(caller, REQUEST_ID.get(), purchase, payment)
        try:
            # While the server hangs, each batch takes all of this time; a caller waits for no second one.
            async with asyncio.timeout(MAX_SECONDS):
                return await self._batchers.submit(purchase.event_id, reported)
        except TimeoutError as error:
            raise dependency_unavailable("database") from error

    async def _record(self, event_id: UUID, batch: Sequence[ReportedPayment]) -> Sequence[Purchase | Failure | None]:
        """Record the payments of one event together, and alone those that cannot stand beside others."""
        try:
            answers, late = await self._transact(event_id, batch)
        except Failure as failure:
            if failure.reason != Reason.PAYMENT_ALREADY_USED or len(batch) == 1:
                raise
            # A purchase of another event took one of the payments meanwhile. The others are recorded without it.
            answers, late = [None] * len(batch), set(range(len(batch)))
        return [
            await self._record_alone(event_id, batch[index]) if index in late else answer
            for index, answer in enumerate(answers)
        ]

    async def _record_alone(self, event_id: UUID, reported: ReportedPayment) -> Purchase | Failure | None:
        try:
            [answer], _ = await self._transact(event_id, [reported])
        except Failure as failure:
            return failure
        return answer

    async def _transact(self, event_id: UUID, batch: Sequence[ReportedPayment]) -> tuple[_Answers, set[int]]:
        """Return the answers, and the indexes of the payments that are to be recorded alone."""

        def work(connection: Connection) -> tuple[_Answers, set[int]]:
            transaction = _Transaction(connection, self._records, lock_inventory(connection, event_id), batch)
            answers = [transaction.answer(index, one) for index, one in enumerate(batch)]
            transaction.store(self._clock())
            return answers, transaction.late

        result = await self._database.run(work)
        self._on_change()
        return result


class _Transaction:
    """The decisions of one transaction; each uses the purchases and places that the earlier ones changed."""

    def __init__(
        self, connection: Connection, records: PaymentRecords, inventory: Inventory, batch: Sequence[ReportedPayment]
    ) -> None:
        self._connection = connection
        self._records = records
        self._inventory = inventory
        self._is_alone = len(batch) == 1
        ids = {one.purchase.purchase_id for one in batch}
        locked = store.lock_purchases(connection, inventory.event.event_id, list(ids))
        self._purchases = {purchase.purchase_id: purchase for purchase in locked}
        keys = [payment for one in batch for payment in _keys_of(one.purchase, one.payment)]
        self._recorded = store.paid_purchases(connection, keys)
        self._paid = list[tuple[Payment, PaymentResult]]()
        self._withdrawn = list[Purchase]()
        self._changes = list[CallersChange]()
        # The indexes of payments of ended holds: their bounds depend on the other purchases of their customers, also on
        # those that this transaction completes.
        self.late = set[int]()

    def answer(self, index: int, reported: ReportedPayment) -> Purchase | Failure | None:
        """Decide one reported payment; return its answer."""
        try:
            return self._decide(index, reported)
        except Failure as failure:
            return failure

    def _decide(self, index: int, reported: ReportedPayment) -> Purchase | None:
        payment = reported.payment
        locked = self._purchases[reported.purchase.purchase_id]
        if _is_recorded(self._recorded, locked, payment):
            return None
        if domain.has_other_charge(locked, reported.purchase):
            return locked
        if locked.status in domain.ENDED and not self._is_alone:
            self.late.add(index)
            return None
        result = self._records.decide(self._connection, locked, payment, self._inventory)
        if locked.status is PurchaseStatus.HELD and locked.payment_id is not None:
            self._withdrawn.append(locked)
        self._paid.append((payment, result))
        self._purchases[locked.purchase_id] = result.purchase
        self._recorded[store.key_of(payment)] = locked.purchase_id
        currency, amount = payment.paid
        facts = {"payment_id": payment.payment_id, "currency_code": currency, "minor_units": amount}
        change = Change(ChangeKind.PAYMENT_CONFIRMED, locked.event_id, locked.purchase_id, details=facts)
        self._changes.append(CallersChange(reported.caller, reported.request_id, change))
        return None

    def store(self, now: datetime) -> None:
        """Write what was decided."""
        if self._paid:
            self._records.store(self._connection, self._paid, self._inventory)
            ledger.enter_all(self._connection, [withdrawn_entry(held) for held in self._withdrawn], now)
            changes.record_all(self._connection, self._changes, now)


def _read_with_organizers(connection: Connection, purchase_ids: Sequence[UUID]) -> dict[UUID, tuple[Purchase, str]]:
    found = read_purchases(connection, purchase_ids)
    organizers = organizers_of(connection, {purchase.event_id for purchase in found})
    return {purchase.purchase_id: (purchase, organizers[purchase.event_id]) for purchase in found}


def _keys_of(purchase: Purchase, payment: Payment) -> list[Payment]:
    """Return the payments that show that a payment is recorded: itself, and the one whose id a recovery lost."""
    return [payment, lost_payment(purchase.purchase_id, payment.paid)]


def _is_recorded(recorded: Mapping[store.PaymentKey, UUID], purchase: Purchase, payment: Payment) -> bool:
    """Return whether a payment of a purchase is recorded; raise PAYMENT_ALREADY_USED if it pays another purchase."""
    own, lost = _keys_of(purchase, payment)
    paid = recorded.get(store.key_of(own))
    if paid not in {None, purchase.purchase_id}:
        raise payment_already_used(payment.payment_id, paid)
    # After a recovery the shop repeats a payment whose id was lost: it must not look like a second one, to be refunded.
    return paid is not None or store.key_of(lost) in recorded
