"""The findings that a recovery has to print, computed from the log alone.

Rules where something is unknowable, because no program that survived has it:

1. What only the tickets database had, and no gate and no provider: an open hold, a changed capacity. EVENT_LOST stands for
   all tickets of its event.
2. What happened after the later of the two backups, where both databases were restored, and no provider has it.
3. Which ticket a refund was for, where both databases lack its cancellation and the payment was returned in part.
4. Replication takes a moment: what was acknowledged since both services last agreed may be found or not. Admissions
   that gates send while the recovery runs may be found by it, or be reported after it.
5. A revocation of a gate device that the ticket service did not have yet. The command lists the devices that it cannot
   vouch for, and the operator revokes those again that the logs name.

A gate keeps the tokens of the tickets that it has admitted, and a token proves its ticket and issue. So a ticket that both
databases lack is found once its gate has sent the admission.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from tests.drill.log import Kind, Log, PurchaseState, TicketState, World, key_of
from tests.stand_ins.stripe import StripeStandIn

Found = tuple[str, str]


@dataclass(frozen=True)
class Moments:
    """The numbers of lines of the log that each database contains after the restores."""

    tickets: int
    scans: int


@dataclass(frozen=True)
class Expected:
    """The findings that have to be printed, and those that may be."""

    must: frozenset[Found]
    may: frozenset[Found]


def expected_findings(
    log: Log, moments: Moments, stripe: StripeStandIn, named_keys: Collection[int], delivered: Collection[str]
) -> Expected:
    """Return the findings of the recovery of the tickets database.

    Args:
        named_keys: the keys that the operator has retired at the scan service.
        delivered: the devices that had sent everything before the command ran.
    """
    own, decided, latest = log.world(moments.tickets), log.world(moments.scans), log.world()
    admitted = [entry.facts for entry in log.of(Kind.SHOWN) if entry.facts["admitted"]]
    sent = [facts for facts in admitted if facts["device_id"] in delivered]
    sets = [
        frozenset(
            _Findings(
                own=own,
                reported=log.world(reported),
                replicated=_with_proofs(log.world(replicated), latest, own, proofs),
                decided=decided,
                purchases_made=latest.purchases,
                moments=moments,
                stripe=stripe,
                named_keys=frozenset(named_keys),
            ).all()
        )
        for reported in range(log.last_settled(moments.tickets), moments.tickets + 1)
        for replicated in range(log.last_settled(moments.scans), moments.scans + 1)
        for proofs in (sent, admitted)
    ]
    sent_later = {("CHECK_IN_RESTORED", facts["ticket_id"]) for facts in admitted}
    return Expected(frozenset.intersection(*sets), frozenset.union(*sets, sent_later))


def _with_proofs(replicated: World, latest: World, own: World, admitted: Iterable[dict[str, Any]]) -> World:
    """Return what the scan service has once gates have sent these admissions with their tokens."""
    tickets = dict(replicated.tickets)
    for facts in admitted:
        ticket = latest.tickets[facts["ticket_id"]]
        # The scan service accepts no scan of an event that it lacks, and no token of a retired key.
        if ticket.event_id not in replicated.events or key_of(facts["token"]) in latest.retired_keys:
            continue
        tokens = ticket.tokens[: ticket.tokens.index(facts["token"]) + 1]
        there = tickets.get(ticket.ticket_id)
        if there is None:
            # A token does not show a block, so this database keeps its own.
            here = own.tickets.get(ticket.ticket_id)
            is_blocked = here is not None and here.is_blocked
            there = replace(ticket, tokens=tokens, is_blocked=is_blocked, cancellation_id="", check_in_changes=0)
        elif len(tokens) > there.issue:
            there = replace(there, tokens=tokens)
        tickets[ticket.ticket_id] = there
    return replace(replicated, tickets=tickets)


@dataclass
class _Findings:
    """One comparison of the tickets database with the scan service and the provider."""

    own: World
    # The check-ins that the tickets database has.
    reported: World
    # The part of the feed that the scan service has, and its own decisions.
    replicated: World
    decided: World
    # Every purchase of the log.
    purchases_made: dict[str, PurchaseState]
    moments: Moments
    stripe: StripeStandIn
    named_keys: frozenset[int]

    def all(self) -> set[Found]:
        """Return every finding."""
        found = set[Found]()
        self.purchases = dict(self.own.purchases)
        # The cancellations that the tickets database has after the recovery.
        self.cancelled = {one.cancellation_id for one in self.own.tickets.values() if one.cancellation_id}
        for event_id in self.replicated.events:
            found |= self._event(event_id)
        known = {**self.replicated.tickets}
        known |= {key: one for key, one in self.decided.tickets.items() if one.cancellation_id}
        for ticket in known.values():
            if ticket.event_id in self.own.events:
                found |= self._ticket(ticket)
        return found | self._keys() | self._money()

    @property
    def is_newer(self) -> bool:
        """Return whether the scan service has later changes than the tickets database."""
        return self.moments.scans >= self.moments.tickets

    def _event(self, event_id: str) -> set[Found]:
        there, here = self.replicated.events[event_id], self.own.events.get(event_id)
        is_closed = self.decided.events[event_id].status == "CANCELLED"
        if here is None:
            return {("EVENT_LOST", event_id)}
        if is_closed and here.status != "CANCELLED":
            return {("EVENT_CANCELLED", event_id)}
        found = set[Found]()
        if self.is_newer and there.status == "PUBLISHED":
            if here.status == "DRAFT":
                found.add(("EVENT_PUBLISHED", event_id))
            if here.name != there.name:
                found.add(("EVENT_CHANGE_LOST", event_id))
        return found

    def _ticket(self, there: TicketState) -> set[Found]:  # noqa: C901, PLR0912 - one branch for each kind
        found, ticket_id = set[Found](), there.ticket_id
        here = self.own.tickets.get(ticket_id)
        decided = self.decided.tickets.get(ticket_id, there)
        purchase = self.purchases_made[there.purchase_id]
        is_external = purchase.how == "external" and purchase.total > 0
        issue, is_blocked, price = 1, False, there.price
        if here is not None:
            issue, is_blocked = here.issue, here.is_blocked
        elif there.purchase_id in self.own.purchases:
            found.add(("PURCHASE_RESTORED", there.purchase_id))
            if is_external:
                found.add(("PAYMENT_ID_LOST", there.purchase_id))
        elif purchase.how == "card":
            found |= {("PURCHASE_RESTORED", there.purchase_id), ("HOLDER_LOST", ticket_id)}
            self.purchases[there.purchase_id] = purchase
        elif decided.cancellation_id:
            return {("CANCELLED_TICKET_LOST", ticket_id)}
        else:
            found.add(("PURCHASE_LOST", ticket_id))
            price = 0
        if there.issue > issue:
            found.add(("HOLDER_LOST", ticket_id))
        if decided.cancellation_id and not (here and here.cancellation_id):
            self.cancelled.add(decided.cancellation_id)
            found.add(("CANCELLATION_RESTORED", ticket_id))
            if is_external and price:
                found.add(("REFUND_UNCERTAIN", ticket_id))
        elif not decided.cancellation_id and not (here and here.cancellation_id) and self.is_newer:
            if there.is_blocked and not is_blocked:
                found.add(("TICKET_BLOCKED", ticket_id))
            if is_blocked and not there.is_blocked:
                found.add(("TICKET_UNBLOCKED", ticket_id))
        reported = self.reported.tickets.get(ticket_id)
        if decided.check_in_changes > (reported.check_in_changes if reported else 0):
            found.add(("CHECK_IN_RESTORED", ticket_id))
        return found

    def _keys(self) -> set[Found]:
        restored = self.replicated.keys - self.own.keys
        retired = (self.replicated.retired_keys | (self.named_keys & self.replicated.keys)) - self.own.retired_keys
        return {("KEY_RESTORED", str(key_id)) for key_id in restored} | {
            # A lost key is restored with its retirement.
            ("KEY_RETIRED", str(key_id))
            for key_id in retired - restored
        }

    def _money(self) -> set[Found]:
        found = set[Found]()
        charged, refunded = self.stripe.charged(), self.stripe.refunded()
        for payment_id, intent in self.stripe.intents.items():
            purchase_id = intent["metadata"].get("purchase_id", "")
            is_lost = purchase_id in charged and purchase_id not in self.purchases
            if is_lost and refunded.get(purchase_id, 0) < charged[purchase_id]:
                found.add(("PAYMENT_WITHOUT_PURCHASE", payment_id))
        for refund in self.stripe.refunds:
            purchase_id = self.stripe.intents[refund["payment_intent"]]["metadata"].get("purchase_id", "")
            if purchase_id in self.purchases and order_of(refund) not in self.cancelled:
                found.add(("REFUND_WITHOUT_CANCELLATION", refund["id"]))
        return found


def order_of(refund: dict[str, Any]) -> str:
    """Return the id under which the service ordered a refund: that of the cancellation."""
    return str(refund["metadata"].get("order_id", ""))


def orders_in_full(stripe: StripeStandIn) -> set[str]:
    """Return the orders of refunds of payments that were returned in full.

    Of any other payment, nobody can say which ticket a refund was for: it is listed, and its tickets stay valid.
    """
    charged, refunded = stripe.charged(), stripe.refunded()
    purchases = {
        refund["id"]: stripe.intents[refund["payment_intent"]]["metadata"].get("purchase_id", "")
        for refund in stripe.refunds
    }
    return {
        order_of(refund)
        for refund in stripe.refunds
        if refunded.get(purchases[refund["id"]], 0) >= charged.get(purchases[refund["id"]], 1)
    }
