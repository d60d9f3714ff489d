"""Apply the changes of tickets that a restored database lost: issues, blocks, cancellations and check-ins."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.check_ins import CheckIn
from ticket_service.domain.payments import RefundState
from ticket_service.domain.purchases import EXTERNAL
from ticket_service.domain.reconciliation import ProviderRefund
from ticket_service.domain.recovery import (
    Finding,
    FindingKind,
    KnownEvent,
    KnownRevocation,
    KnownTicket,
    Mending,
    mendings,
)
from ticket_service.domain.reissues import Reissue, ReissueStatus, set_blocked
from ticket_service.domain.revocations import Outcome
from ticket_service.domain.tickets import SoldTicket, TicketStatus
from ticket_service.store import restored as store
from ticket_service.store.cancellations import insert_cancellations
from ticket_service.store.events import lock_event, take_revision
from ticket_service.store.reissues import insert_reissue
from ticket_service.store.tickets import lock_ticket, update_ticket
from ticket_service.use_cases.cancellations import settle
from ticket_service.use_cases.check_ins import apply_reports
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.ids import new_id

REASON: Final = "restored after a restore of the database"
# The caller of restored reissues; no user has this name.
CALLER: Final = "recover"


@dataclass(frozen=True, slots=True)
class TicketPayment:
    """The payment of a ticket, and the refunds of it at its provider."""

    provider: str
    payment_id: str
    refunds: Sequence[ProviderRefund] = ()


class TicketMender:
    """Applies lost changes of the tickets of one event; each call is one transaction of the caller."""

    def __init__(self, issuing: Issuing, now: datetime) -> None:
        self._issuing = issuing
        self._now = now

    def mend(
        self,
        connection: Connection,
        known_event: KnownEvent,
        known: Sequence[KnownTicket],
        paid: Mapping[UUID, TicketPayment],
    ) -> list[Finding]:
        """Apply what the scan service has of these tickets of an event; return the findings."""
        event_id, cursor = known_event.event_id, known_event.revision
        if lock_event(connection, event_id) is None:
            return []
        own = store.lock_tickets(connection, event_id, [ticket.ticket_id for ticket in known])
        found = list[Finding]()
        check_ins = list[CheckIn]()
        for ticket in known:
            if ticket.ticket_id not in own:
                continue
            for mending in mendings(own[ticket.ticket_id], ticket, cursor):
                match mending:
                    case Mending.TAKE_ISSUE:
                        found += self._take_issue(connection, event_id, ticket)
                    case Mending.BLOCK | Mending.UNBLOCK:
                        found += self._set_blocked(connection, event_id, ticket, blocked=mending is Mending.BLOCK)
                    case Mending.CANCEL:
                        found += self._cancel(connection, event_id, ticket, paid.get(ticket.ticket_id))
                    case Mending.CHECK_IN:
                        check_ins.append(CheckIn(event_id, ticket.ticket_id, ticket.check_in_time, ticket.sequence))
        return found + self._check_in(connection, check_ins)

    def _take_issue(self, connection: Connection, event_id: UUID, known: KnownTicket) -> list[Finding]:
        """Take the newest issue over: the person who has its print gets in, and no older print revives."""
        sold, revision = _locked(connection, event_id, known.ticket_id)
        decided = [one.revocation_id for one in known.revocations if one.check_in_time is None]
        for step, issue in enumerate(range(sold.ticket.issue + 1, known.issue + 1)):
            reissue = Reissue(
                reissue_id=decided[step] if step < len(decided) and not known.is_cancelled else new_id(),
                event_id=event_id,
                ticket_id=known.ticket_id,
                caller=CALLER,
                request_id=new_id(),
                issue=issue,
                # Nobody by name: it may have been a transfer, and the earlier holder must not get the new one's ticket.
                user_id="",
                email="",
                status=ReissueStatus.DONE,
                create_time=self._now,
                complete_time=self._now,
            )
            insert_reissue(connection, reissue)
        ticket = replace(sold.ticket, issue=known.issue, user_id="", revision=revision, update_time=self._now)
        update_ticket(connection, ticket, self._issuing.digests(self._issuing.secrets(ticket)))
        take_revision(connection, event_id, revision)
        details = {"issue": known.issue, "restored_issue": sold.ticket.issue}
        return [Finding(FindingKind.HOLDER_LOST, str(known.ticket_id), event_id, details)]

    def _set_blocked(
        self, connection: Connection, event_id: UUID, known: KnownTicket, *, blocked: bool
    ) -> list[Finding]:
        sold, revision = _locked(connection, event_id, known.ticket_id)
        update_ticket(connection, set_blocked(sold.ticket, revision, self._now, blocked=blocked))
        take_revision(connection, event_id, revision)
        kind = FindingKind.TICKET_BLOCKED if blocked else FindingKind.TICKET_UNBLOCKED
        return [Finding(kind, str(known.ticket_id), event_id)]

    def _cancel(
        self, connection: Connection, event_id: UUID, known: KnownTicket, paid: TicketPayment | None
    ) -> list[Finding]:
        """Insert the lost cancellation under its id, by which the provider has its refund, and settle it."""
        sold, _ = _locked(connection, event_id, known.ticket_id)
        made, revocation = _refund_of(known, paid.refunds if paid else (), self._now)
        amount, percent = _amount(sold, known, revocation, made)
        cancellation = Cancellation(
            cancellation_id=revocation.revocation_id,
            event_id=event_id,
            ticket_id=known.ticket_id,
            issue=sold.ticket.issue,
            status=CancellationStatus.PENDING,
            currency=sold.event.currency,
            refund_amount=amount,
            refund_percent=percent,
            reason=REASON,
            create_time=revocation.create_time,
            due_time=self._now,
        )
        insert_cancellations(connection, [cancellation])
        # The holder and the shop were notified when it happened: a second notification would look like a second refund.
        settle(connection, event_id, {cancellation.cancellation_id: Outcome(revoked=True)}, self._now, notifies=False)
        details = store.as_details(
            cancellation_id=cancellation.cancellation_id, refund=amount, currency_code=cancellation.currency
        )
        found = [Finding(FindingKind.CANCELLATION_RESTORED, str(known.ticket_id), event_id, details)]
        if amount and (paid is None or paid.provider == EXTERNAL):
            found.append(Finding(FindingKind.REFUND_UNCERTAIN, str(known.ticket_id), event_id, details))
        return found

    def _check_in(self, connection: Connection, reports: Sequence[CheckIn]) -> list[Finding]:
        if not reports:
            return []
        conflicts = {one.check_in.ticket_id for one in apply_reports(connection, reports, self._now)}
        return [
            Finding(
                FindingKind.CHECK_IN_OF_CANCELLED_TICKET
                if report.ticket_id in conflicts
                else FindingKind.CHECK_IN_RESTORED,
                str(report.ticket_id),
                report.event_id,
                store.as_details(check_in_time=report.check_in_time),
            )
            for report in reports
        ]


def cancelled_ids(known: Collection[KnownTicket]) -> list[UUID]:
    """Return the ids of the tickets that gates deny for good."""
    return [ticket.ticket_id for ticket in known if ticket.is_cancelled]


def _locked(connection: Connection, event_id: UUID, ticket_id: UUID) -> tuple[SoldTicket, int]:
    """Return a locked ticket, and the next revision of its locked event."""
    event, sold = lock_event(connection, event_id), lock_ticket(connection, ticket_id)
    if event is None or sold is None:
        raise LookupError(f"ticket {ticket_id} is not in this database any more")
    return sold, event.revision + 1


def _refund_of(
    known: KnownTicket, refunds: Sequence[ProviderRefund], now: datetime
) -> tuple[int | None, KnownRevocation]:
    """Return the amount that the provider refunded for the cancellation of a ticket, and the revocation with its id."""
    revoked = [one for one in known.revocations if one.check_in_time is None]
    for revocation in reversed(revoked):
        amounts = [
            refund.amount
            for refund in refunds
            if refund.order_id == str(revocation.revocation_id) and refund.state is not RefundState.REFUSED
        ]
        if amounts:
            return amounts[-1], revocation
    # Scans that were restored too lack the revocation.
    return None, revoked[-1] if revoked else KnownRevocation(new_id(), now, None)


def _amount(sold: SoldTicket, known: KnownTicket, revocation: KnownRevocation, made: int | None) -> tuple[int, int]:
    """Return the refund of a restored cancellation, and its percentage of the price."""
    if made is not None:
        amount = min(made, sold.ticket.refundable)
        return amount, amount * 100 // max(sold.ticket.price, 1)
    if known.status is TicketStatus.CANCELLED:
        return 0, 0
    granted = sold.refund_at(revocation.create_time)
    return granted.amount, granted.percent
