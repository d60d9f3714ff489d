"""Record disputes, and block and unblock the tickets of disputed purchases."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.disputes import Dispute, DisputeStatus, change
from ticket_service.domain.findings import OwnPayment
from ticket_service.domain.findings_notified import dispute_changed
from ticket_service.domain.ledger import EntryKind, dispute_entry
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.purchases import Purchase
from ticket_service.domain.reconciliation import ProviderDispute
from ticket_service.domain.reissues import set_blocked
from ticket_service.domain.tickets import TicketStatus
from ticket_service.store import disputes as store
from ticket_service.store import ledger, outbox
from ticket_service.store import outside_refunds as outside_store
from ticket_service.store.events import lock_event, take_revision
from ticket_service.store.tickets import lock_tickets_of_purchase, update_ticket
from ticket_service.use_cases.refund_effects import return_credit
from ticketing.chassis.ids import new_id


def apply_dispute(  # noqa: PLR0913 - the state on both sides, and how to act on it
    connection: Connection,
    purchase: Purchase,
    own: OwnPayment,
    there: ProviderDispute,
    now: datetime,
    *,
    blocks_tickets: bool,
) -> None:
    """Record the present state of a dispute with its effects; event and purchase are locked.

    An OPEN dispute blocks the ACTIVE tickets of the purchase if `blocks_tickets`; an end in the organizer's favour
    unblocks them. A LOST dispute counts as money that returned to the buyer.
    """
    before = own.disputes.get(there.dispute_id)
    if before is None:
        after = Dispute(
            event_id=purchase.event_id,
            dispute_id=new_id(),
            provider=own.provider,
            provider_id=there.dispute_id,
            purchase_id=purchase.purchase_id,
            payment_id=own.payment_id,
            currency=there.currency,
            amount=there.amount,
            status=there.status,
            reason=there.reason,
            create_time=now,
            update_time=now,
        )
    else:
        after = change(before, there.status, there.amount, now)
    if after.status is DisputeStatus.OPEN and blocks_tickets and not after.blocked_ticket_ids:
        after = replace(after, blocked_ticket_ids=_set_blocked(connection, after, now, blocked=True))
    elif after.status in {DisputeStatus.WON, DisputeStatus.CLOSED} and after.blocked_ticket_ids:
        _set_blocked(connection, after, now, blocked=False)
        after = replace(after, blocked_ticket_ids=())
    store.store(connection, after)
    _enter(connection, before, after, now)
    outside = own.outside_refunds.get(there.dispute_id)
    is_lost = after.status is DisputeStatus.LOST
    if is_lost and (outside is None or outside.return_time is not None):
        _record_loss(connection, after, now)
    elif not is_lost and outside is not None and outside.return_time is None:
        return_credit(connection, purchase, outside, "a lost dispute was decided anew", now)
    outbox.write(connection, dispute_changed(purchase, before, after), now)


def _enter(connection: Connection, before: Dispute | None, after: Dispute, now: datetime) -> None:
    kinds = {DisputeStatus.OPEN: EntryKind.DISPUTED, DisputeStatus.WON: EntryKind.DISPUTE_WON}
    kind = kinds.get(after.status)
    if kind is not None and (before is None or before.status is not after.status):
        ledger.enter(connection, dispute_entry(after, kind), now)


def _record_loss(connection: Connection, lost: Dispute, now: datetime) -> None:
    outside = OutsideRefund(
        event_id=lost.event_id,
        provider=lost.provider,
        refund_id=lost.provider_id,
        purchase_id=lost.purchase_id,
        payment_id=lost.payment_id,
        kind=OutsideRefundKind.DISPUTE,
        currency=lost.currency,
        amount=lost.amount,
        create_time=now,
    )
    outside_store.store(connection, outside)
    ledger.enter(connection, dispute_entry(lost, EntryKind.DISPUTE_LOST), now)


def _set_blocked(connection: Connection, dispute: Dispute, now: datetime, *, blocked: bool) -> tuple[UUID, ...]:
    """Block the ACTIVE tickets of a disputed purchase, or unblock those that the dispute has blocked; return their ids."""
    event = lock_event(connection, dispute.event_id)
    if event is None:
        return ()
    from_status = TicketStatus.ACTIVE if blocked else TicketStatus.BLOCKED
    only: Collection[UUID] | None = None if blocked else dispute.blocked_ticket_ids
    changed = []
    revision = event.revision
    for ticket in lock_tickets_of_purchase(connection, dispute.event_id, dispute.purchase_id):
        if ticket.status is from_status and (only is None or ticket.ticket_id in only):
            revision += 1
            update_ticket(connection, set_blocked(ticket, revision, now, blocked=blocked))
            changed.append(ticket.ticket_id)
    take_revision(connection, dispute.event_id, revision)
    return tuple(changed)
