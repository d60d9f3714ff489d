"""The main path, told on the terminal: `python -m dev.demo`.

Starts both services with a database of their own in a temporary folder, talks to them as any client would, and leaves
nothing behind but a QR code as PNG. Ends with exit status 0 only if everything went as told.
"""

import contextlib
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import qrcode
from google.protobuf.timestamp_pb2 import Timestamp
from qrcode.constants import ERROR_CORRECT_M

from dev.clients import Caller, Gate, NotStartedError, Services, running_services
from dev.story import Story
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    money_pb2,
    purchase_pb2,
    purchase_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)

SETTLE_SECONDS = 10.0
PICTURE = Path("demo-ticket.png")


class UnexpectedError(Exception):
    """Something did not go as told."""


def expect(what: str, got: object, wanted: object) -> None:
    """Stop the story where it does not go as told."""
    if got != wanted:
        raise UnexpectedError(f"{what} is {got}, not {wanted}")


def euros(money: money_pb2.Money) -> str:
    """Spell an amount."""
    return f"{money.minor_units / 100:.2f} {money.currency_code}"


def at(moment: datetime) -> Timestamp:
    """Convert a time."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def tonight() -> event_pb2.Event:
    """Describe an event whose doors have just opened."""
    now = datetime.now(UTC).replace(microsecond=0)
    return event_pb2.Event(
        name="Night of Lights",
        event_type=event_pb2.EVENT_TYPE_OTHER,
        doors_open_time=at(now - timedelta(minutes=5)),
        start_time=at(now + timedelta(hours=2)),
        end_time=at(now + timedelta(hours=6)),
        time_zone="Europe/Berlin",
        location="Old Harbour, Hall 3",
        max_participants=300,
        ticket_price=money_pb2.Money(currency_code="EUR", minor_units=2500),
        refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=80)]),
        admission_policy=event_pb2.ADMISSION_POLICY_SINGLE_ENTRY,
    )


def publish(story: Story, organizer: Caller) -> event_pb2.Event:
    """Create an event and put it on sale."""
    story.chapter("An organizer puts an event on sale")
    created = story.call(
        "organizer",
        "CreateEvent",
        lambda: (
            organizer.ask(
                organizer.events.CreateEvent,
                event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=tonight()),
            ).event
        ),
        lambda event: f"{event.name!r}, {event.max_participants} places at {euros(event.ticket_price)}",
    )
    return story.call(
        "organizer",
        "PublishEvent",
        lambda: (
            organizer.ask(
                organizer.events.PublishEvent, event_service_pb2.PublishEventRequest(event_id=created.event_id)
            ).event
        ),
        lambda event: event_pb2.EventStatus.Name(event.status).removeprefix("EVENT_STATUS_"),
    )


def buy(story: Story, shop: Caller, event: event_pb2.Event) -> purchase_pb2.Purchase:
    """Buy two tickets, and send the same request again, as a shop does whose answer got lost."""
    story.chapter("Bob buys two tickets in the web shop, which has taken the money")
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=event.event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=2)],
        external_payment_id=f"shop-{uuid.uuid4().hex[:8]}",
        expected_total=money_pb2.Money(currency_code="EUR", minor_units=5000),
        user_id="bob",
    )
    purchase = story.call(
        "web shop",
        "PurchaseTickets",
        lambda: shop.ask(shop.purchases.PurchaseTickets, request).purchase,
        lambda bought: (
            f"{len(bought.tickets)} tickets for {euros(bought.total)}: "
            + ", ".join(ticket.code for ticket in bought.tickets)
        ),
    )
    again = story.call(
        "web shop",
        "PurchaseTickets",
        lambda: shop.ask(shop.purchases.PurchaseTickets, request).purchase,
        lambda bought: f"sent twice: still {len(bought.tickets)} tickets, charged once",
    )
    expect("the second answer", again.purchase_id, purchase.purchase_id)
    return purchase


def show(story: Story, holder: Caller, ticket_id: str) -> ticket_pb2.Ticket:
    """Fetch a ticket and its QR code."""
    story.chapter("Bob opens his ticket")
    ticket = story.call(
        "bob",
        "GetTicket",
        lambda: holder.ask(holder.tickets.GetTicket, ticket_service_pb2.GetTicketRequest(ticket_id=ticket_id)).ticket,
        lambda got: f"{got.code}, {ticket_pb2.TicketStatus.Name(got.status).removeprefix('TICKET_STATUS_')}",
    )
    picture = story.call(
        "bob",
        "RenderTicket",
        lambda: holder.ask(holder.tickets.RenderTicket, ticket_service_pb2.RenderTicketRequest(ticket_id=ticket_id)),
        lambda drawn: f"{drawn.media_type}, {len(drawn.content):,} bytes, saved as {PICTURE}",
    )
    PICTURE.write_bytes(picture.content)
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=2)
    code.add_data(ticket.token)
    code.print_ascii(invert=True)
    return ticket


def verdict(scan: scan_pb2.Scan) -> str:
    """Spell a gate's answer."""
    if scan.verdict == scan_pb2.VERDICT_ADMITTED:
        return "ADMITTED"
    reason = scan_pb2.DenialReason.Name(scan.denial_reason).removeprefix("DENIAL_REASON_")
    previous = scan.previous
    where = f", at {previous.location} {previous.scan_time.ToDatetime():%H:%M:%S}Z" if previous.scan_id else ""
    return f"DENIED {reason}{where}"


def cancel(story: Story, holder: Caller, ticket_id: str) -> ticket_pb2.Cancellation:
    """Give a ticket back."""
    story.chapter("Bob's friend cannot come: he gives the other ticket back")
    answer = story.call(
        "bob",
        "CancelTicket",
        lambda: holder.ask(
            holder.tickets.CancelTicket, ticket_service_pb2.CancelTicketRequest(ticket_id=ticket_id, reason="ill")
        ),
        lambda told: (
            f"{euros(told.cancellation.refund_amount)} back ({told.cancellation.refund_percent} %), ticket "
            + ticket_pb2.TicketStatus.Name(told.ticket.status).removeprefix("TICKET_STATUS_")
        ),
    )
    expect("the refund", answer.cancellation.refund_amount.minor_units, 2000)
    expect("the cancellation's status", answer.cancellation.status, ticket_pb2.CANCELLATION_STATUS_REFUNDING)
    return answer.cancellation


def wait_for_status(holder: Caller, ticket_id: str, wanted: int) -> ticket_pb2.Ticket:
    """Ask until the scan service's report has reached the ticket service."""
    request = ticket_service_pb2.GetTicketRequest(ticket_id=ticket_id)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        ticket = holder.ask(holder.tickets.GetTicket, request).ticket
        if ticket.status == wanted or time.monotonic() > deadline:
            expect("the ticket's status", ticket.status, wanted)
            return ticket


def tell(story: Story, services: Services) -> None:
    """Go through the whole story."""
    organizer, shop = services.caller("organizer", "alice"), services.caller("service", "web-shop")
    bob, door = services.caller("user", "bob"), services.caller("scanner", "door-team")
    event = publish(story, organizer)
    first, second = buy(story, shop, event).tickets
    ticket = show(story, bob, first.ticket_id)

    story.chapter("The doors are open")
    gate = story.call(
        "gate",
        "StreamScans: open",
        lambda: _patient_gate(door, event.event_id),
        lambda opened: f"{opened.opened.event_name!r}, ready for {opened.opened.max_outstanding_scans} scans at once",
    )
    with contextlib.closing(gate):
        scan = story.call("gate", "scan", lambda: gate.scan(ticket.token), verdict)
        expect("the first verdict", scan.verdict, scan_pb2.VERDICT_ADMITTED)
        scan = story.call("gate", "scan, same ticket", lambda: gate.scan(ticket.token), verdict)
        expect("the second answer", scan.denial_reason, scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN)

        cancellation = cancel(story, bob, second.ticket_id)
        story.call(
            "web shop",
            "ConfirmRefund",
            lambda: shop.ask(
                shop.tickets.ConfirmRefund,
                ticket_service_pb2.ConfirmRefundRequest(
                    cancellation_id=cancellation.cancellation_id, refund_id=f"refund-{uuid.uuid4().hex[:8]}"
                ),
            ),
            lambda _: "the money is back with Bob",
        )
        scan = story.call("gate", "scan, given back", lambda: gate.scan(second.token), verdict)
        expect("the answer to it", scan.denial_reason, scan_pb2.DENIAL_REASON_REFUNDED)

    story.chapter("And afterwards")
    story.call(
        "bob",
        "GetTicket",
        lambda: wait_for_status(bob, ticket.ticket_id, ticket_pb2.TICKET_STATUS_USED),
        lambda used: f"USED, checked in {used.check_in_time.ToDatetime():%H:%M:%S}Z",
    )
    story.call(
        "door team",
        "ListScans",
        lambda: door.ask(door.scans.ListScans, scan_service_pb2.ListScansRequest(event_id=event.event_id)).scans,
        lambda scans: f"{len(scans)} scans on record, the denied ones too",
    )


def _patient_gate(door: Caller, event_id: str) -> Gate:
    """Open a gate; a new event reaches the scan service within a moment."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return Gate(door, event_id)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise


def main() -> int:
    """Tell the story; return 0 if it went as told."""
    story = Story(colours=sys.stdout.isatty())
    begin = time.perf_counter()
    print("Starting both services on a real PostgreSQL …")
    try:
        with running_services() as services:
            print(f"  ready after {time.perf_counter() - begin:.1f} s")
            tell(story, services)
        story.table()
    except (UnexpectedError, NotStartedError, grpc.RpcError) as error:
        print(f"\nThis did not go as told: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"Everything went as told, in {time.perf_counter() - begin:.1f} s. Nothing keeps running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
