"""A simple model of the ticket service's promises about one event, to compare the service with.

The model shares no code with the service. It stores nothing twice: it counts places whenever they are read.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

HOLD = timedelta(minutes=10)
OPEN = ("ACTIVE", "BLOCKED")
ENDED = ("EXPIRED", "RELEASED")


class Refused(Exception):  # noqa: N818 - an answer of the model, not an error
    """A refused request."""

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.facts = {name.rstrip("_"): str(value) for name, value in facts.items()}


@dataclass(eq=False)
class Ticket:
    """One ticket; `cancellation` is "" while it has none, or a rejected one."""

    kind: str
    price: int
    holder: str
    status: str = "ACTIVE"
    issue: int = 1
    # The check-in at the gate, and the one that was reported to the ticket service.
    admitted: datetime | None = None
    reported: datetime | None = None
    cancellation: Literal["", "PENDING", "REFUNDING", "DONE"] = ""
    granted: int = 0
    percent: int = 0
    refund_id: str = ""
    # The refunds without a cancellation: the amount of each, and the id of the refund once it is made.
    parts: list[tuple[int, str]] = field(default_factory=list)
    # While the cancellation was PENDING, a report said that no check-in stands.
    annulled: bool = False
    # A reissue that the scan service has not answered: its request, and its new holder or None.
    reissue: tuple[str, str | None] | None = None
    id: str = ""

    @property
    def refundable(self) -> int:
        return self.price - sum(amount for amount, _ in self.parts)


@dataclass(eq=False)
class Purchase:
    buyer: str
    items: Mapping[str, int]
    total: int
    status: str
    expires: datetime | None = None
    payment: str = ""
    tickets: list[Ticket] = field(default_factory=list)
    id: str = ""


@dataclass
class Payment:
    purchase: Purchase
    refund_due: bool = False
    refund_id: str = ""


@dataclass(frozen=True)
class Line:
    """One line of the price list."""

    price: int
    capacity: int | None = None
    max_per_purchase: int = 20
    sales_end: datetime | None = None


@dataclass
class SalesModel:
    """One event with its purchases and payments."""

    start: datetime
    end: datetime
    max_participants: int | None
    lines: Mapping[str, Line]
    tiers: Sequence[tuple[int, int]]
    is_single_entry: bool
    purchases: list[Purchase] = field(default_factory=list)
    # The payments, by payment id; a payment sent with a free purchase is not recorded.
    payments: dict[str, Payment] = field(default_factory=dict)
    # The content of each request and its result, by request id.
    requests: dict[str, tuple[object, Purchase | Ticket]] = field(default_factory=dict)
    is_cancelled: bool = False
    are_gates_closed: bool = False
    are_tickets_cancelled: bool = False
    # The batches of the event cancellation have found the last ticket.
    is_complete: bool = False
    # The scan service does not answer.
    is_cut_off: bool = False

    @property
    def tickets(self) -> list[Ticket]:
        """Return all tickets in the order in which they were issued."""
        return [ticket for purchase in self.purchases for ticket in purchase.tickets]

    def status(self, now: datetime) -> str:
        if self.is_cancelled:
            return "CANCELLED"
        return "COMPLETED" if now >= self.end else "PUBLISHED"

    def status_of(self, ticket: Ticket, now: datetime) -> str:
        if ticket.status != "ACTIVE":
            return ticket.status
        if ticket.reported is not None and self.is_single_entry:
            return "USED"
        return "EXPIRED" if now > self.end else "ACTIVE"

    def reserved(self, kind: str | None = None) -> int:
        """Count the places held or sold, of one type or of all."""
        held = Counter[str]()
        for purchase in self.purchases:
            if purchase.status == "HELD":
                held.update(purchase.items)
        held.update(ticket.kind for ticket in self.tickets if ticket.status in OPEN)
        return held.total() if kind is None else held[kind]

    def sales(self, now: datetime) -> dict[tuple[str, str], tuple[int, int, int]]:
        """Sum up tickets, prices and refunds by type and status."""
        sums: dict[tuple[str, str], tuple[int, int, int]] = {}
        for ticket in self.tickets:
            key = (ticket.kind, self.status_of(ticket, now))
            count, paid, refunded = sums.get(key, (0, 0, 0))
            back = ticket.granted if ticket.cancellation in {"REFUNDING", "DONE"} else 0
            back += ticket.price - ticket.refundable
            sums[key] = (count + 1, paid + ticket.price, refunded + back)
        return sums

    def refunds_pending(self) -> int:
        """Count the refunds that are still to be made."""
        parts = sum(not refund_id for ticket in self.tickets for _, refund_id in ticket.parts)
        return (
            parts
            + sum(ticket.cancellation == "REFUNDING" for ticket in self.tickets)
            + sum(payment.refund_due and not payment.refund_id for payment in self.payments.values())
        )

    def buy(  # noqa: PLR0913, PLR0917 - all that a request says
        self, request: str, buyer: str, items: Mapping[str, int], payment: str, expected: int | None, now: datetime
    ) -> Purchase:
        """Buy; the first reason in this order refuses the order."""
        asked = (buyer, dict(items), payment)
        if request in self.requests:
            before, bought = self.requests[request]
            if before != asked or not isinstance(bought, Purchase):
                raise Refused("REQUEST_ID_REUSED", request_id=request)
            return bought
        self._check_on_sale(items, now)
        total = sum(quantity * self.lines[kind].price for kind, quantity in items.items())
        if expected is not None and expected != total:
            raise Refused("PRICE_CHANGED", expected=expected, actual=total)
        if total and not payment and (own := self._hold_of(buyer, items, now)):
            self.requests[request] = (asked, own)
            return own
        self._check_places(items)
        if payment in self.payments:
            raise Refused("PAYMENT_ALREADY_USED", purchase_id=self.payments[payment].purchase.id)
        purchase = Purchase(buyer, dict(items), total, "HELD", expires=now + HOLD)
        if not total:
            self._complete(purchase, "")
        elif payment:
            self.payments[payment] = Payment(purchase)
            self._complete(purchase, payment)
        self.purchases.append(purchase)
        self.requests[request] = (asked, purchase)
        return purchase

    def _hold_of(self, buyer: str, items: Mapping[str, int], now: datetime) -> Purchase | None:
        """Return the buyer's own hold of the same items, which the buyer gets instead of another one."""
        for one in self.purchases:
            if one.status == "HELD" and (one.buyer, one.items) == (buyer, dict(items)) and now < (one.expires or now):
                return one
        return None

    def confirm(self, purchase: Purchase, payment: str, paid: int, now: datetime) -> None:
        if payment in self.payments:
            if self.payments[payment].purchase is not purchase:
                raise Refused("PAYMENT_ALREADY_USED", purchase_id=self.payments[payment].purchase.id)
            return
        if paid != purchase.total:
            raise Refused("PRICE_CHANGED", expected=paid, actual=purchase.total)
        self.payments[payment] = Payment(purchase, refund_due=True)
        if purchase.status in {"COMPLETED", "REFUNDING"}:
            return
        if purchase.status == "REFUNDED":
            purchase.status = "REFUNDING"
            return
        if self.status(now) == "PUBLISHED" and (purchase.status == "HELD" or self._has_places(purchase.items)):
            self.payments[payment].refund_due = False
            self._complete(purchase, payment)
        else:
            purchase.status, purchase.payment = "REFUNDING", payment

    def release(self, purchase: Purchase) -> None:
        if purchase.status in ENDED:
            return
        if purchase.status != "HELD":
            raise Refused("ILLEGAL_TRANSITION", from_=purchase.status, to="RELEASED")
        purchase.status = "RELEASED"

    def refund_payment(self, purchase: Purchase, refund_id: str) -> None:
        owed = [payment for payment in self.payments.values() if payment.purchase is purchase and payment.refund_due]
        if any(payment.refund_id == refund_id for payment in owed):
            return
        outstanding = [payment for payment in owed if not payment.refund_id]
        if not outstanding:
            raise Refused("ILLEGAL_TRANSITION", from_=purchase.status, to="REFUNDED")
        outstanding[0].refund_id = refund_id
        if len(outstanding) == 1 and purchase.status == "REFUNDING":
            purchase.status = "REFUNDED"

    def cancel(self, ticket: Ticket, now: datetime, wanted: int | None = None) -> None:
        """Cancel a ticket; while the scan service is cut off, the cancellation stays PENDING.

        `wanted` is the amount that the organizer refunds; None: what the policy grants.
        """
        if ticket.cancellation and wanted is not None and wanted > ticket.granted:
            raise Refused("TICKET_NOT_CANCELLABLE", ticket_id=ticket.id)
        if not ticket.cancellation:
            if ticket.reissue is not None:
                raise Refused("DEPENDENCY_UNAVAILABLE", dependency="scan service")
            if ticket.reported is not None:
                raise Refused("TICKET_CHECKED_IN", check_in_time=ticket.reported.isoformat())
            if self.status_of(ticket, now) != "ACTIVE":
                raise Refused("TICKET_NOT_CANCELLABLE", status=self.status_of(ticket, now))
            percent = 100 if self.is_cancelled else self.refund_percent(now)
            # The service rounds half a cent up.
            granted = min(int(ticket.price * percent / 100 + 0.5), ticket.refundable)
            if wanted is not None:
                self._check_range(wanted, granted, ticket.refundable)
                granted, percent = wanted, max(percent, wanted * 100 // max(ticket.price, 1))
            ticket.granted, ticket.percent = granted, percent
            ticket.cancellation, ticket.annulled = "PENDING", False
        if ticket.cancellation == "PENDING" and not self.is_cut_off:
            self._settle(ticket)
            if ticket.admitted is not None:
                raise Refused("TICKET_CHECKED_IN", check_in_time=ticket.admitted.isoformat())

    def refund_part(self, request: str, ticket: Ticket, amount: int) -> None:
        """Refund a part of a ticket's price without a cancellation."""
        asked = ("part", ticket.id, amount)
        if request in self.requests:
            if self.requests[request][0] != asked:
                raise Refused("REQUEST_ID_REUSED", request_id=request)
            return
        self._check_range(amount, 1, ticket.refundable - (ticket.granted if ticket.cancellation else 0))
        self.requests[request] = (asked, ticket)
        ticket.parts.append((amount, ""))

    def confirm_part(self, ticket: Ticket, part: int, refund_id: str) -> None:
        amount, made = ticket.parts[part]
        if made not in {"", refund_id}:
            raise Refused("ILLEGAL_TRANSITION", from_="DONE", to="DONE", instead="NOTHING")
        ticket.parts[part] = (amount, refund_id)

    def _check_range(self, amount: int, minimum: int, maximum: int) -> None:
        if not minimum <= amount <= maximum:
            raise Refused("REFUND_OUT_OF_RANGE", min=minimum, max=maximum)

    def refund_percent(self, now: datetime) -> int:
        """Return the percentage that the policy grants now."""
        best = (-1, 0)
        for days, percent in self.tiers:
            # The event is in UTC.
            if now <= self.start and now.date() + timedelta(days=days) <= self.start.date():
                best = max(best, (days, percent))
        return best[1]

    def refund_cancellation(self, ticket: Ticket, refund_id: str) -> None:
        if ticket.cancellation == "DONE" and ticket.refund_id == refund_id:
            return
        if ticket.cancellation != "REFUNDING":
            raise Refused("ILLEGAL_TRANSITION", from_=ticket.cancellation, to="DONE")
        ticket.cancellation, ticket.refund_id = "DONE", refund_id

    def reissue(self, request: str, ticket: Ticket, holder: str | None, now: datetime) -> None:
        """Reissue a ticket, or transfer it unless `holder` is None."""
        asked = (ticket.id, holder)
        if request not in self.requests:
            # The pending reissue of another request is settled first.
            if ticket.reissue is not None and self._finish_reissue(ticket) == "CUT OFF":
                raise Refused("DEPENDENCY_UNAVAILABLE", dependency="scan service")
            self._check_reissue(ticket, holder, now)
            self.requests[request] = (asked, ticket)
            ticket.reissue = (request, holder)
        elif self.requests[request][0] != asked:
            raise Refused("REQUEST_ID_REUSED", request_id=request)
        if ticket.reissue is not None and ticket.reissue[0] == request:
            end = self._finish_reissue(ticket)
            if end == "CUT OFF":
                raise Refused("DEPENDENCY_UNAVAILABLE", dependency="scan service")
            if end == "CANCELLED":
                raise Refused("TICKET_NOT_ACTIVE", status=ticket.status)
            if end == "CHECKED IN":
                assert ticket.admitted is not None
                raise Refused("TICKET_CHECKED_IN", check_in_time=ticket.admitted.isoformat())

    def block(self, ticket: Ticket, *, blocked: bool) -> None:
        if ticket.status not in OPEN:
            raise Refused("TICKET_NOT_ACTIVE", status=ticket.status)
        ticket.status = "BLOCKED" if blocked else "ACTIVE"

    def report(self, ticket: Ticket, time: datetime | None) -> None:
        """Record a reported check-in; None: no check-in stands, so a cancelled event owes a cancellation."""
        ticket.reported = time
        if time is not None:
            return
        if ticket.cancellation == "PENDING":
            ticket.annulled = True
        elif self.is_cancelled and ticket.status in OPEN:
            self._owe(ticket)

    def cancel_event(self) -> bool:
        """Cancel the event; return whether the gates are closed."""
        if self.is_complete:
            # A repeated request runs the batches again.
            self.are_tickets_cancelled = self.is_complete = False
        self.is_cancelled = True
        self.are_gates_closed |= not self.is_cut_off
        return self.are_gates_closed

    def sweep(self, now: datetime) -> None:
        """Settle everything that is due."""
        if not self.is_cut_off:
            for ticket in self.tickets:
                if ticket.cancellation == "PENDING":
                    self._settle(ticket)
                if ticket.reissue is not None:
                    self._finish_reissue(ticket)
        for purchase in self.purchases:
            if purchase.status == "HELD" and purchase.expires is not None and purchase.expires <= now:
                purchase.status = "EXPIRED"
        self.are_gates_closed |= self.is_cancelled and not self.is_cut_off
        if self.are_gates_closed and not self.is_complete:
            # A batch that the scan service did not settle is tried again, and is the last one then.
            self.is_complete = self.are_tickets_cancelled or not self._cancel_tickets() or not self.is_cut_off
            self.are_tickets_cancelled = True

    def _cancel_tickets(self) -> bool:
        """Cancel all tickets without a reported check-in; return whether there were any."""
        new = []
        for ticket in self.tickets:
            if ticket.status in OPEN and ticket.reported is None:
                if ticket.cancellation == "PENDING":
                    ticket.granted, ticket.percent = ticket.refundable, 100
                    continue
                self._owe(ticket)
                new.append(ticket)
                if not self.is_cut_off:
                    self._settle(ticket)
        return bool(new)

    def _owe(self, ticket: Ticket) -> None:
        ticket.cancellation, ticket.granted, ticket.percent = "PENDING", ticket.refundable, 100
        ticket.annulled = False

    def _complete(self, purchase: Purchase, payment: str) -> None:
        purchase.status, purchase.payment = "COMPLETED", payment
        for kind, quantity in purchase.items.items():
            purchase.tickets += [Ticket(kind, self.lines[kind].price, purchase.buyer) for _ in range(quantity)]

    def _check_on_sale(self, items: Mapping[str, int], now: datetime) -> None:
        if self.status(now) == "COMPLETED":
            raise Refused("EVENT_ENDED")
        if self.status(now) != "PUBLISHED":
            raise Refused("NOT_ON_SALE", status="CANCELLED")
        for kind, quantity in items.items():
            line = self.lines.get(kind)
            if line is None or (line.sales_end is not None and now >= line.sales_end):
                raise Refused("NOT_ON_SALE", ticket_type=kind)
            if quantity > line.max_per_purchase:
                raise Refused("PURCHASE_LIMIT", ticket_type=kind, min=1, max=line.max_per_purchase)

    def _check_places(self, items: Mapping[str, int]) -> None:
        for kind, quantity in items.items():
            capacity = self.lines[kind].capacity
            if capacity is not None and quantity > capacity - self.reserved(kind):
                left = capacity - self.reserved(kind)
                raise Refused("SOLD_OUT", ticket_type=kind, requested=quantity, available=left)
        if self.max_participants is not None and sum(items.values()) > self.max_participants - self.reserved():
            raise Refused("SOLD_OUT", requested=sum(items.values()), available=self.max_participants - self.reserved())

    def _has_places(self, items: Mapping[str, int]) -> bool:
        try:
            self._check_places(items)
        except Refused:
            return False
        return True

    def _settle(self, ticket: Ticket) -> None:
        """Settle a PENDING cancellation: a check-in that was first rejects it."""
        if ticket.admitted is not None:
            if ticket.annulled and self.is_cancelled:
                self._owe(ticket)
            else:
                ticket.cancellation = ""
            return
        if self.is_cancelled:
            ticket.granted, ticket.percent = ticket.refundable, 100
        ticket.cancellation = "REFUNDING" if ticket.granted else "DONE"
        ticket.status = "REFUNDED" if ticket.granted else "CANCELLED"

    def _check_reissue(self, ticket: Ticket, holder: str | None, now: datetime) -> None:
        if ticket.cancellation == "PENDING":
            raise Refused("CANCELLATION_PENDING")
        if self.status_of(ticket, now) not in {"ACTIVE", "USED"}:
            raise Refused("TICKET_NOT_ACTIVE", status=self.status_of(ticket, now))
        if holder is not None and ticket.reported is not None:
            raise Refused("TICKET_CHECKED_IN", check_in_time=ticket.reported.isoformat())

    def _finish_reissue(self, ticket: Ticket) -> Literal["CUT OFF", "CANCELLED", "CHECKED IN", "DONE"]:
        """Settle a reissue, unless the scan service is cut off; a rejected one is forgotten."""
        assert ticket.reissue is not None
        if self.is_cut_off:
            return "CUT OFF"
        (request, holder), ticket.reissue = ticket.reissue, None
        if ticket.status in OPEN and (holder is None or ticket.admitted is None):
            ticket.issue, ticket.holder = ticket.issue + 1, holder or ticket.holder
            return "DONE"
        del self.requests[request]
        return "CHECKED IN" if ticket.status in OPEN else "CANCELLED"
