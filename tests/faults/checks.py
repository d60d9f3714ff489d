"""The promises, checked from outside: the record of the clients against what the services, the provider and devices have."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from tests.faults import ticket_model as model
from tests.faults.feed import Follower
from tests.faults.gates import Lane
from tests.faults.record import Operation
from tests.faults.site import SCANS, TICKETS, Site
from tests.faults.stored import Stored
from tests.faults.world import World
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import event_pb2, purchase_pb2, ticket_pb2

CANCELLED = frozenset({ticket_pb2.TICKET_STATUS_CANCELLED, ticket_pb2.TICKET_STATUS_REFUNDED})
BUYS = frozenset({"buy", "buy again", "confirm", "confirm charge", "release"})
# An incident of one of these kinds says that a person got in who should not.
ADMISSION_INCIDENTS = frozenset(
    {
        scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION,
        scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION,
        scan_pb2.INCIDENT_KIND_UNKNOWN_ADMISSION,
        scan_pb2.INCIDENT_KIND_INVALID_ADMISSION,
    }
)


class Checks:
    """The checks of one run; each yields its violations."""

    def __init__(self, site: Site, world: World, operations: Sequence[Operation], stored: Stored) -> None:
        self._site, self._world, self._stored = site, world, stored
        self._operations = operations
        self._by_kind: dict[str, list[Operation]] = defaultdict(list)
        for operation in operations:
            self._by_kind[operation.kind].append(operation)
        self.linearized = 0
        self.offline_tickets = {
            one.facts["ticket_id"] for one in self._by_kind["lane scan"] if one.answer.get("offline", True)
        }

    def purchases(self) -> Iterator[str]:
        """Check promises 1 to 3 on sales: acknowledged purchases are stored, and each request had one effect."""
        first: dict[str, list[str]] = {}
        for operation in self._operations:
            if operation.kind not in BUYS or not operation.is_done:
                continue
            answer = operation.answer
            stored = self._stored.purchases.get(answer["purchase_id"])
            if stored is None:
                yield f"an acknowledged purchase is lost: {answer}"
                continue
            if answer["status"] == "COMPLETED":
                if stored.status != purchase_pb2.PURCHASE_STATUS_COMPLETED:
                    yield f"purchase {stored.purchase_id} was COMPLETED, and is {stored.status}"
                tickets = sorted(answer["tickets"])
                if len(tickets) != answer["quantity"] or first.setdefault(stored.purchase_id, tickets) != tickets:
                    yield f"purchase {stored.purchase_id} was answered with other tickets: {tickets}"
                if lost := [one for one in tickets if one not in self._stored.tickets]:
                    yield f"tickets of an acknowledged purchase are lost: {lost}"
        by_user = Counter(one.user_id for one in self._stored.purchases.values())
        for user_id, count in by_user.items():
            if count > 1:
                yield f"one request of {user_id} made {count} purchases"
        charges = Counter(
            intent["metadata"].get("purchase_id")
            for intent in self._site.stripe.intents.values()
            if intent["status"] == "succeeded"
        )
        for purchase_id, count in charges.items():
            if count > 1:
                yield f"purchase {purchase_id} was charged {count} times"

    def capacity(self) -> Iterator[str]:
        """Check promise 1: at no time more places were certainly sold or held than an event has."""
        ends: dict[str, float] = {}
        for operation in self._by_kind["cancel"]:
            ends[operation.facts["ticket_id"]] = operation.sent
        closed = {one.facts["event_id"]: one.sent for one in self._by_kind["cancel event"]}
        moments: dict[str, list[tuple[float, int]]] = defaultdict(list)
        sold = set[str]()
        for operation in self._operations:
            if operation.kind not in BUYS or operation.answer.get("status") != "COMPLETED":
                continue
            event_id = operation.answer["event_id"]
            for ticket_id in operation.answer["tickets"]:
                if ticket_id not in sold:
                    sold.add(ticket_id)
                    begin = operation.answered or 0.0
                    end = min(ends.get(ticket_id, inf), closed.get(event_id, inf))
                    if begin < end:
                        moments[event_id] += [(begin, 1), (end, -1)]
        for event in self._world.events:
            places = 0
            for _, change in sorted(moments[event.event_id]):
                places += change
                if places > event.capacity:
                    yield f"event {event.event_id} has {event.capacity} places, and {places} were sold at a time"
                    break
            valid = [
                one
                for one in self._stored.tickets.values()
                if one.event_id == event.event_id and one.status not in CANCELLED
            ]
            if len(valid) > event.capacity:
                yield f"event {event.event_id} has {event.capacity} places and {len(valid)} valid tickets"
            shown = self._stored.events[event.event_id].current_participants
            if shown != len(valid):
                yield f"event {event.event_id} counts {shown} reserved places and has {len(valid)} valid tickets"

    def changes(self) -> Iterator[str]:
        """Check promise 3 on changes of tickets and events."""
        renewed: Counter[str] = Counter()
        for operation in (*self._by_kind["reissue"], *self._by_kind["transfer"]):
            ticket_id = operation.facts["ticket_id"]
            ticket = self._stored.tickets[ticket_id]
            renewed[ticket_id] += operation.answered is None or operation.is_done
            if operation.is_done and ticket.issue < operation.answer["issue"]:
                yield f"ticket {ticket_id} had issue {operation.answer['issue']}, and has {ticket.issue}"
        for ticket_id, ticket in self._stored.tickets.items():
            if ticket.issue - 1 > renewed[ticket_id]:
                yield f"ticket {ticket_id} has issue {ticket.issue} after {renewed[ticket_id]} requests"
        for operation in self._by_kind["cancel"]:
            if not operation.is_done:
                continue
            made = self._stored.cancellations.get(operation.answer["cancellation_id"])
            ticket = self._stored.tickets[operation.facts["ticket_id"]]
            if made is None:
                yield f"an acknowledged cancellation is lost: {operation.answer}"
            elif made.status != ticket_pb2.CANCELLATION_STATUS_REJECTED and ticket.status not in CANCELLED:
                yield f"ticket {ticket.ticket_id} has a cancellation and is {ticket.status}"
            elif (
                operation.answer["status"] != ticket_pb2.CANCELLATION_STATUS_PENDING
                and made.status == ticket_pb2.CANCELLATION_STATUS_REJECTED
            ):
                yield f"the settled cancellation {made.cancellation_id} was rejected afterwards"
        for operation in self._by_kind["cancel event"]:
            event = self._stored.events[operation.facts["event_id"]]
            if operation.is_done and event.status != event_pb2.EVENT_STATUS_CANCELLED:
                yield f"the acknowledged cancellation of event {event.event_id} is lost"
        names: dict[str, set[str]] = defaultdict(set)
        for operation in self._by_kind["rename"]:
            if operation.is_done:
                names[operation.facts["event_id"]] = {operation.facts["name"]}
            elif operation.answered is None:
                names[operation.facts["event_id"]] |= {operation.facts["name"], ""}
        for event_id, possible in names.items():
            if "" not in possible and self._stored.events[event_id].name not in possible:
                yield f"event {event_id} was renamed to {possible} and is {self._stored.events[event_id].name}"

    def money(self) -> Iterator[str]:
        """Check promise 9: captured minus refunded is the worth of the tickets, here and at the provider."""
        charged, refunded = self._site.stripe.charged(), self._site.stripe.refunded()
        captured, paid_back = self._own_payments()
        for purchase_id, purchase in self._stored.purchases.items():
            tickets = self._stored.tickets_of(purchase_id)
            worth = sum(one.price_paid.minor_units - self._stored.given_back(one) for one in tickets)
            own = captured[purchase_id] - paid_back[purchase_id]
            provider = charged.get(purchase_id, 0) - refunded.get(purchase_id, 0)
            if own + provider != worth:
                yield (
                    f"purchase {purchase_id} ({purchase.status}, {purchase.payment.provider}): tickets worth {worth},"
                    f" by card {charged.get(purchase_id, 0)} - {refunded.get(purchase_id, 0)},"
                    f" at the shop {captured[purchase_id]} - {paid_back[purchase_id]}"
                )
        if unknown := set(charged) - set(self._stored.purchases):
            yield f"charges without a purchase: {unknown}"
        asked: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for operation in self._by_kind["refund"]:
            amount, bounds = operation.facts["amount"], asked[operation.facts["ticket_id"]]
            bounds[0] += amount if operation.is_done else 0
            bounds[1] += amount if operation.is_done or operation.answered is None else 0
        for ticket_id, ticket in self._stored.tickets.items():
            least, most = asked[ticket_id]
            if not least <= ticket.refunded.minor_units <= most:
                yield f"ticket {ticket_id} was refunded {ticket.refunded.minor_units}, asked {least} to {most}"

    def _own_payments(self) -> tuple[Counter[str], Counter[str]]:
        """Return what the shop's own payment system has captured and paid back, by purchase."""
        captured, paid_back = Counter[str](), Counter[str]()
        by_user = {one.user_id: one for one in self._stored.purchases.values()}
        for operation in self._by_kind["buy"]:
            if operation.facts["how"] != "external":
                continue
            # A refused order is not charged; an unanswered one may have been done.
            if operation.is_done or operation.answered is None:
                purchase = by_user.get(operation.facts["user_id"])
                if purchase is not None:
                    captured[purchase.purchase_id] += purchase.total.minor_units
        for operation in self._by_kind["confirm"]:
            if operation.is_done:
                captured[operation.facts["purchase_id"]] += operation.facts["amount"]
        for operation in self._by_kind["paid back"]:
            paid_back[operation.facts["purchase_id"]] += operation.facts["amount"]
        return captured, paid_back

    def terms(self) -> Iterator[str]:
        """Check promise 12: nobody gets less back than the terms at the purchase granted."""
        changes: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
        for operation in self._by_kind["terms"]:
            if operation.is_done or operation.answered is None:
                changes[operation.facts["event_id"]].append(
                    (operation.sent, operation.answered or inf, operation.facts["percent"])
                )
        bought = {one.facts["user_id"]: one for one in self._by_kind["buy"] if one.is_done or one.answered is None}
        for cancellation in self._stored.cancellations.values():
            ticket = self._stored.tickets[cancellation.ticket_id]
            purchase = bought.get(self._stored.purchases[ticket.purchase_id].user_id)
            if purchase is None or cancellation.status == ticket_pb2.CANCELLATION_STATUS_REJECTED:
                continue
            percent = least_percent(changes[ticket.event_id], purchase.sent, purchase.answered or inf)
            price = ticket.price_paid.minor_units
            least = price * percent // 100
            # Refunds without a cancellation reduce the refund if the sum would exceed the price.
            least = min(least, price - ticket.refunded.minor_units)
            if cancellation.refund_amount.minor_units < least:
                yield (
                    f"ticket {ticket.ticket_id} gets {cancellation.refund_amount.minor_units} of {price} back,"
                    f" and the terms at the purchase granted {percent} %"
                )

    def admissions(self) -> Iterator[str]:
        """Check promises 4, 5 and 7: an order of the operations explains every answer of gates and cancellations."""
        for ticket_id, steps in self._steps().items():
            if ticket_id in self.offline_tickets:
                continue
            self.linearized += 1
            if model.explain(steps) is None:
                yield f"no order explains the answers about ticket {ticket_id}:{model.shown(steps)}"

    def _steps(self) -> dict[str, list[model.Step]]:
        steps: dict[str, list[model.Step]] = defaultdict(list)
        for operation in self._operations:
            ticket_id = operation.facts.get("ticket_id", "")
            if (step := self._step(operation)) is not None:
                steps[ticket_id].append(step)
        closed = {one.facts["event_id"]: one.sent for one in self._by_kind["cancel event"]}
        for ticket_id, of_ticket in steps.items():
            ticket = self._stored.tickets.get(ticket_id)
            if ticket is None:
                continue
            if ticket.event_id in closed:
                begin = closed[ticket.event_id]
                of_ticket.append(model.Step(model.CLOSE, begin, inf, None))
                # The cancellation of the event cancels its tickets.
                of_ticket.append(model.Step(model.CANCEL, begin, inf, None))
        return steps

    def _step(self, operation: Operation) -> model.Step | None:
        begin, end = operation.sent, operation.answered or inf
        is_open = operation.answered is None
        if not is_open and not operation.is_done:
            return None
        match operation.kind:
            case "scan" | "lane scan":
                scan_id = operation.facts.get("scan_id") or operation.answer.get("scan_id", "")
                if (not scan_id and not is_open) or operation.answer.get("repeated"):
                    # The handheld showed its last answer again, or it had none.
                    return None
                result = None if is_open else _result(operation)
                return model.Step(model.SCAN, begin, end, result, str(operation.facts["issue"]), scan_id)
            case "annul" | "lane annul":
                if not is_open and not operation.answer["annulled"]:
                    return None
                result = None if is_open else ""
                return model.Step(model.ANNUL, begin, end, result, operation.facts["scan_id"])
            case "cancel":
                return self._cancel_step(operation)
            case "reissue" | "transfer":
                result = None if is_open else str(operation.answer["issue"])
                return model.Step(operation.kind, begin, end, result)
        return None

    def _cancel_step(self, operation: Operation) -> model.Step | None:
        if operation.answered is None:
            return model.Step(model.CANCEL, operation.sent, inf, None)
        made = self._stored.cancellations[operation.answer["cancellation_id"]]
        if made.status == ticket_pb2.CANCELLATION_STATUS_REJECTED:
            return None
        # A PENDING cancellation takes effect at some time after the answer.
        is_pending = operation.answer["status"] == ticket_pb2.CANCELLATION_STATUS_PENDING
        return model.Step(model.CANCEL, operation.sent, inf if is_pending else operation.answered, "")

    def scans(self) -> Iterator[str]:
        """Check promises 3 and 7 on scans: each answer that a gate showed is recorded, and every conflict is an incident."""
        for operation in (*self._by_kind["scan"], *self._by_kind["lane scan"]):
            answer = operation.answer
            scan_id = operation.facts.get("scan_id") or answer.get("scan_id", "")
            if not operation.is_done or answer.get("repeated") or not scan_id:
                continue
            if answer.get("fault"):
                yield f"scan {scan_id}: {answer['fault']}"
            stored = self._stored.scans.get(scan_id)
            if stored is None:
                yield f"a scan that was shown is lost: {operation.facts} {answer}"
            elif (stored.verdict == scan_pb2.VERDICT_ADMITTED) != answer["admitted"]:
                yield f"scan {scan_id} was shown as {answer}, and is recorded as {stored.verdict}"
        in_incidents = {
            scan.scan_id for one in self._stored.incidents if one.kind in ADMISSION_INCIDENTS for scan in one.scans
        }
        for event in self._world.events:
            for ticket_id, standing in self._stored.standing(event.event_id).items():
                is_reported = any(scan.scan_id in in_incidents for scan in standing)
                ticket = self._stored.tickets.get(ticket_id)
                if ticket is None:
                    yield f"a gate admitted a ticket that was never sold: {ticket_id}"
                elif len(standing) > 1 and not is_reported:
                    yield f"ticket {ticket_id} was admitted {len(standing)} times without an incident"
                elif ticket.status in CANCELLED and not is_reported:
                    yield f"ticket {ticket_id} was cancelled and admitted without an incident"

    def attendance(self) -> Iterator[str]:
        """Check that the counts are those of the records."""
        for event_id, counted in self._stored.attendance.items():
            standing = self._stored.standing(event_id)
            if counted.checked_in != len(standing) or counted.inside != len(standing):
                yield (
                    f"event {event_id} counts {counted.checked_in} checked in and {counted.inside} inside,"
                    f" and {len(standing)} tickets have standing admissions"
                )
            reported = {
                one.ticket_id
                for one in self._stored.tickets.values()
                if one.event_id == event_id and one.HasField("check_in_time")
            }
            if reported != set(standing):
                yield f"event {event_id}: check-ins differ in the ticket service: {reported ^ set(standing)}"

    def feed(self, followers: Sequence[Follower]) -> Iterator[str]:
        """Check promise 8: whoever follows the feed has the state of every ticket."""
        states = "CASE status WHEN 'ACTIVE' THEN 1 WHEN 'CANCELLED' THEN 4 WHEN 'REFUNDED' THEN 5 ELSE 6 END"
        rows = self._site.rows(TICKETS, f"SELECT ticket_id::text, revision, issue, {states} FROM tickets")
        table = {ticket_id: tuple(state) for ticket_id, *state in rows}
        for follower in followers:
            missing = [one for one, state in table.items() if follower.tickets.get(one) != state]
            if missing:
                states_of = [(one, table[one], follower.tickets.get(one)) for one in missing[:3]]
                yield f"the feed left out {len(missing)} of {len(table)} tickets: {states_of}"
        replica = self._site.rows(SCANS, f"SELECT ticket_id::text, revision, issue, {states} FROM tickets WHERE known")
        differing = set(table.items()) ^ {(ticket_id, tuple(state)) for ticket_id, *state in replica}
        if differing:
            yield f"the scan service has other tickets: {sorted(differing)[:4]}"

    def devices(self, lanes: Sequence[Lane]) -> Iterator[str]:
        """Check that each device has the admissions of its event."""
        for lane in lanes:
            yield from lane.differences(self._site.rows(SCANS, ADMISSIONS.format(event_id=lane.event_id)))


# The tickets of an event as devices have them: the id, the issue, and whether the person is inside.
ADMISSIONS = """
    SELECT ticket_id::text, issue, inside, status FROM tickets WHERE event_id = '{event_id}' AND known
"""


def least_percent(changes: Sequence[tuple[float, float, int]], begin: float, end: float) -> int:
    """Return the least percentage that the terms may have granted at some time between `begin` and `end`.

    `changes` are the times between which each percentage took effect, in their order.
    """
    possible = []
    for index, (sent, _, percent) in enumerate(changes):
        # The next change that certainly took effect ends this one.
        replaced = min((answered for _, answered, _ in changes[index + 1 :]), default=inf)
        if sent <= end and replaced >= begin:
            possible.append(percent)
    return min(possible, default=0)


def _result(operation: Operation) -> str:
    answer = operation.answer
    if answer["admitted"]:
        return model.ADMITTED
    # A ticket without a price is cancelled without a refund.
    return "REFUNDED" if answer["reason"] == "CANCELLED" else str(answer["reason"])
