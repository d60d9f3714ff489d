"""The promises on sales, changes, money and terms, checked from outside."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from tests.faults.evidence import BUYS, CANCELLED, REJECTED, Evidence, end_of
from tests.stand_ins.stripe.currencies import minor_units
from ticketing.tickets.v1 import event_pb2, purchase_pb2, ticket_pb2

PENDING = ticket_pb2.CANCELLATION_STATUS_PENDING


def acknowledged_purchases(it: Evidence) -> Iterator[str]:
    """Check promises 2 and 3: each acknowledged purchase is stored with the tickets of its first answer."""
    first: dict[str, list[str]] = {}
    for operation in it.done(*BUYS):
        answer = operation.answer
        stored = it.stored.purchases.get(answer["purchase_id"])
        if stored is None:
            yield f"an acknowledged purchase is lost: {answer}"
            continue
        if answer["status"] != "COMPLETED":
            continue
        if stored.status != purchase_pb2.PURCHASE_STATUS_COMPLETED:
            yield f"purchase {stored.purchase_id} was COMPLETED, and is {stored.status}"
        tickets = sorted(answer["tickets"])
        if len(tickets) != answer["quantity"] or first.setdefault(stored.purchase_id, tickets) != tickets:
            yield f"purchase {stored.purchase_id} was answered with other tickets: {tickets}"
        if lost := [one for one in tickets if one not in it.stored.tickets]:
            yield f"tickets of an acknowledged purchase are lost: {lost}"


def single_effects(it: Evidence) -> Iterator[str]:
    """Check promise 2: each request made one purchase and one charge; each buyer of a run sends one request."""
    for user_id, count in Counter(one.user_id for one in it.stored.purchases.values()).items():
        if count > 1:
            yield f"one request of {user_id} made {count} purchases"
    intents = [one for one in it.site.stripe.intents.values() if one["status"] == "succeeded"]
    for purchase_id, count in Counter(one["metadata"].get("purchase_id") for one in intents).items():
        if count > 1:
            yield f"purchase {purchase_id} was charged {count} times"
    charged = {one["metadata"].get("purchase_id") for one in intents}
    for operation in it.done("release"):
        if operation.answer["status"] == "RELEASED" and operation.answer["purchase_id"] in charged:
            yield f"purchase {operation.answer['purchase_id']} was charged although its buyer had released it"


def capacity(it: Evidence) -> Iterator[str]:
    """Check promise 1: at no time more places were certainly sold than an event has."""
    moments = _sold_places(it)
    for event in it.world.events:
        places = 0
        for _, change in sorted(moments[event.event_id]):
            places += change
            if places > event.capacity:
                yield f"event {event.event_id} has {event.capacity} places, and {places} were sold at a time"
                break
        own = [one for one in it.stored.tickets.values() if one.event_id == event.event_id]
        valid = sum(one.status not in CANCELLED for one in own)
        if valid > event.capacity:
            yield f"event {event.event_id} has {event.capacity} places and {valid} valid tickets"
        if (shown := it.stored.events[event.event_id].current_participants) != valid:
            yield f"event {event.event_id} counts {shown} reserved places and has {valid} valid tickets"


def _sold_places(it: Evidence) -> dict[str, list[tuple[float, int]]]:
    """Return the times at which places of each event were certainly sold, and at which they may have been released."""
    ends = {one.facts["ticket_id"]: one.sent for one in reversed(it.of("cancel"))}
    moments: dict[str, list[tuple[float, int]]] = defaultdict(list)
    seen = set[str]()
    for operation in it.done(*BUYS):
        if operation.answer["status"] != "COMPLETED":
            continue
        event_id, begin = operation.answer["event_id"], end_of(operation)
        for ticket_id in set(operation.answer["tickets"]) - seen:
            seen.add(ticket_id)
            end = min(ends.get(ticket_id, inf), it.closed.get(event_id, inf))
            if begin < end:
                moments[event_id] += [(begin, 1), (end, -1)]
    return moments


def renewals(it: Evidence) -> Iterator[str]:
    """Check promises 2 and 3 on reissues and transfers."""
    requests = Counter(one.facts["ticket_id"] for one in it.possible("reissue", "transfer"))
    for operation in it.done("reissue", "transfer"):
        ticket = it.stored.tickets.get(operation.facts["ticket_id"])
        if ticket is None:
            yield f"the ticket of an acknowledged {operation.kind} is lost: {operation.facts['ticket_id']}"
        elif ticket.issue < operation.answer["issue"]:
            yield f"ticket {ticket.ticket_id} had issue {operation.answer['issue']}, and has {ticket.issue}"
    for ticket_id, ticket in it.stored.tickets.items():
        if ticket.issue - 1 > requests[ticket_id]:
            yield f"ticket {ticket_id} has issue {ticket.issue} after {requests[ticket_id]} requests"


def cancellations(it: Evidence) -> Iterator[str]:
    """Check promise 3 on cancellations of tickets and events."""
    for operation in it.done("cancel"):
        made = it.stored.cancellations.get(operation.answer["cancellation_id"])
        ticket = it.stored.tickets.get(operation.facts["ticket_id"])
        if made is None or ticket is None:
            yield f"an acknowledged cancellation is lost: {operation.answer}"
        elif made.status == REJECTED:
            if operation.answer["status"] != PENDING:
                yield f"the settled cancellation {made.cancellation_id} was rejected afterwards"
        elif ticket.status not in CANCELLED:
            yield f"ticket {ticket.ticket_id} has a cancellation and is {ticket.status}"
    for operation in it.done("cancel event"):
        event = it.stored.events[operation.facts["event_id"]]
        if event.status != event_pb2.EVENT_STATUS_CANCELLED:
            yield f"the acknowledged cancellation of event {event.event_id} is lost"


def cancelled_events(it: Evidence) -> Iterator[str]:
    """Check that each ticket of a cancelled event is cancelled or was admitted, and that its holder gets everything back.

    A cancellation that the holder requested before keeps its own refund if it was settled before.
    """
    requested = {one.facts["ticket_id"] for one in it.possible("cancel")}
    for event_id in {one.facts["event_id"] for one in it.done("cancel event")}:
        admitted = it.stored.standing(event_id)
        for ticket in it.stored.tickets.values():
            if ticket.event_id != event_id:
                continue
            if ticket.status not in CANCELLED:
                if ticket.ticket_id not in admitted:
                    yield f"ticket {ticket.ticket_id} of a cancelled event is {ticket.status} and was never admitted"
            elif ticket.ticket_id not in requested and it.stored.given_back(ticket) != ticket.price_paid.minor_units:
                yield f"ticket {ticket.ticket_id} of a cancelled event gets {it.stored.given_back(ticket)} back"


def names(it: Evidence) -> Iterator[str]:
    """Check promise 3 on changes of events: each has the last name that was acknowledged, or one sent later."""
    possible: dict[str, set[str]] = defaultdict(set)
    for operation in it.possible("rename"):
        of_event = possible[operation.facts["event_id"]]
        if operation.is_done:
            of_event.clear()
        of_event.add(operation.facts["name"])
        # Without an acknowledged change, the event may keep its first name.
        of_event |= {"Concert"} if operation.answered is None and len(of_event) == 1 else set()
    for event_id, texts in possible.items():
        if it.stored.events[event_id].name not in texts:
            yield f"event {event_id} was renamed to {texts} and is {it.stored.events[event_id].name}"


def money(it: Evidence) -> Iterator[str]:
    """Check promise 9: captured minus refunded is the worth of the tickets, here and at the provider."""
    currencies = {one.purchase_id: one.total.currency_code for one in it.stored.purchases.values()}
    charged, refunded = (
        {purchase_id: minor_units(currencies.get(purchase_id, ""), amount) for purchase_id, amount in sums.items()}
        for sums in (it.site.stripe.charged(), it.site.stripe.refunded())
    )
    captured, paid_back = _own_payments(it)
    for purchase_id, purchase in it.stored.purchases.items():
        tickets = it.stored.tickets_of(purchase_id)
        worth = sum(one.price_paid.minor_units - it.stored.given_back(one) for one in tickets)
        own = captured[purchase_id] - paid_back[purchase_id]
        if own + charged.get(purchase_id, 0) - refunded.get(purchase_id, 0) != worth:
            yield (
                f"purchase {purchase_id} ({purchase.status}, {purchase.payment.provider}): tickets worth {worth},"
                f" by card {charged.get(purchase_id, 0)} - {refunded.get(purchase_id, 0)},"
                f" at the shop {captured[purchase_id]} - {paid_back[purchase_id]}"
            )
    if unknown := set(charged) - set(it.stored.purchases):
        yield f"charges without a purchase: {unknown}"


def _own_payments(it: Evidence) -> tuple[Counter[str], Counter[str]]:
    """Return what the shop's own payment system has captured and paid back, by purchase."""
    captured, paid_back = Counter[str](), Counter[str]()
    by_user = {one.user_id: one for one in it.stored.purchases.values()}
    for operation in it.possible("buy"):
        # A refused order is not charged; an unanswered one may have been done.
        purchase = by_user.get(operation.facts["user_id"])
        if operation.facts["how"] == "external" and purchase is not None:
            captured[purchase.purchase_id] += purchase.total.minor_units
    # A shop may report one payment several times.
    confirmed = {(one.facts["purchase_id"], one.facts["payment_id"], one.facts["amount"]) for one in it.done("confirm")}
    for purchase_id, _, amount in confirmed:
        captured[purchase_id] += amount
    for operation in it.of("paid back"):
        paid_back[operation.facts["purchase_id"]] += operation.facts["amount"]
    return captured, paid_back


def refunds_of_tickets(it: Evidence) -> Iterator[str]:
    """Check promise 2 on refunds without a cancellation: each request refunded once, and no refund has no request."""
    least, most = Counter[str](), Counter[str]()
    for operation in it.possible("refund"):
        least[operation.facts["ticket_id"]] += operation.facts["amount"] if operation.is_done else 0
        most[operation.facts["ticket_id"]] += operation.facts["amount"]
    for ticket_id, ticket in it.stored.tickets.items():
        if not least[ticket_id] <= ticket.refunded.minor_units <= most[ticket_id]:
            amount = ticket.refunded.minor_units
            yield f"ticket {ticket_id} was refunded {amount}, asked for {least[ticket_id]} to {most[ticket_id]}"


def terms(it: Evidence) -> Iterator[str]:
    """Check promise 12: nobody gets less back than the terms at the purchase granted."""
    changes: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for operation in it.possible("terms"):
        changes[operation.facts["event_id"]].append((operation.sent, end_of(operation), operation.facts["percent"]))
    bought = {one.facts["user_id"]: one for one in it.possible("buy")}
    for cancellation in it.stored.cancellations.values():
        ticket = it.stored.tickets[cancellation.ticket_id]
        purchase = bought.get(it.stored.purchases[ticket.purchase_id].user_id)
        if purchase is None or cancellation.status == REJECTED:
            continue
        percent = least_percent(changes[ticket.event_id], purchase.sent, end_of(purchase))
        price = ticket.price_paid.minor_units
        # Refunds without a cancellation reduce the refund if the sum would exceed the price.
        least = min(price * percent // 100, price - ticket.refunded.minor_units)
        if cancellation.refund_amount.minor_units < least:
            yield (
                f"ticket {ticket.ticket_id} gets {cancellation.refund_amount.minor_units} of {price} back,"
                f" and the terms at the purchase granted {percent} %"
            )


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


SALES_CHECKS = (
    acknowledged_purchases,
    single_effects,
    capacity,
    renewals,
    cancellations,
    cancelled_events,
    names,
    money,
    refunds_of_tickets,
    terms,
)
