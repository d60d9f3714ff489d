"""Run the main path on the terminal, from an event to an admitted ticket: `python -m dev.demo`.

The demo starts both services on an embedded PostgreSQL in a temporary folder and calls them as any client does. It
leaves only a QR code as PNG. The exit status is 0 only if every answer was the expected one.
"""

import contextlib
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import qrcode
from qrcode.constants import ERROR_CORRECT_M

from dev.clients import ApiClient, GateClient, NotStartedError, Services, running_services
from dev.transcript import Transcript
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly
from ticketing.chassis.times import timestamp
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
    """An answer was not the expected one."""


def expect(name: str, actual: object, expected: object) -> None:
    """Compare an answer with the expected one; raise UnexpectedError where they differ."""
    if actual != expected:
        raise UnexpectedError(f"{name} is {actual}, not {expected}")


def euros(money: money_pb2.Money) -> str:
    """Format an amount of a currency with two decimals."""
    return f"{money.minor_units / 100:.2f} {money.currency_code}"


def tonight() -> event_pb2.Event:
    """Return an event whose doors opened five minutes ago."""
    now = datetime.now(UTC).replace(microsecond=0)
    return event_pb2.Event(
        name="Night of Lights",
        event_type=event_pb2.EVENT_TYPE_OTHER,
        doors_open_time=timestamp(now - timedelta(minutes=5)),
        start_time=timestamp(now + timedelta(hours=2)),
        end_time=timestamp(now + timedelta(hours=6)),
        time_zone="Europe/Berlin",
        location="Old Harbour, Hall 3",
        max_participants=300,
        ticket_price=money_pb2.Money(currency_code="EUR", minor_units=2500),
        refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=80)]),
        admission_policy=event_pb2.ADMISSION_POLICY_SINGLE_ENTRY,
    )


def publish(transcript: Transcript, organizer: ApiClient) -> event_pb2.Event:
    """Create and publish an event."""
    transcript.section("An organizer creates an event and publishes it")
    creation = event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=tonight())
    created = transcript.call(
        "organizer",
        "CreateEvent",
        lambda: organizer.ask(organizer.events.CreateEvent, creation).event,
        lambda event: f"{event.name!r}, {event.max_participants} places at {euros(event.ticket_price)}",
    )
    publication = event_service_pb2.PublishEventRequest(event_id=created.event_id)
    return transcript.call(
        "organizer",
        "PublishEvent",
        lambda: organizer.ask(organizer.events.PublishEvent, publication).event,
        lambda event: event_pb2.EventStatus.Name(event.status).removeprefix("EVENT_STATUS_"),
    )


def buy(transcript: Transcript, shop: ApiClient, event: event_pb2.Event) -> purchase_pb2.Purchase:
    """Buy two tickets and send the request again, as a shop does after a lost answer."""
    transcript.section("Bob buys two tickets; the web shop has charged him already")
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=event.event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=2)],
        external_payment_id=f"shop-{uuid.uuid4().hex[:8]}",
        expected_total=money_pb2.Money(currency_code="EUR", minor_units=5000),
        user_id="bob",
    )
    purchase = transcript.call(
        "web shop",
        "PurchaseTickets",
        lambda: shop.ask(shop.purchases.PurchaseTickets, request).purchase,
        lambda bought: (
            f"{len(bought.tickets)} tickets for {euros(bought.total)}: "
            + ", ".join(ticket.code for ticket in bought.tickets)
        ),
    )
    again = transcript.call(
        "web shop",
        "PurchaseTickets",
        lambda: shop.ask(shop.purchases.PurchaseTickets, request).purchase,
        lambda bought: f"same request again: the same {len(bought.tickets)} tickets, one charge",
    )
    expect("the purchase of the repeated request", again.purchase_id, purchase.purchase_id)
    return purchase


def fetch_ticket(transcript: Transcript, holder: ApiClient, ticket_id: str) -> ticket_pb2.Ticket:
    """Fetch a ticket and its QR code; print the code and save it."""
    transcript.section("Bob opens his ticket")
    ticket = transcript.call(
        "bob",
        "GetTicket",
        lambda: holder.ask(holder.tickets.GetTicket, ticket_service_pb2.GetTicketRequest(ticket_id=ticket_id)).ticket,
        lambda ticket: f"{ticket.code}, {ticket_pb2.TicketStatus.Name(ticket.status).removeprefix('TICKET_STATUS_')}",
    )
    picture = transcript.call(
        "bob",
        "RenderTicket",
        lambda: holder.ask(holder.tickets.RenderTicket, ticket_service_pb2.RenderTicketRequest(ticket_id=ticket_id)),
        lambda image: f"{image.media_type}, {len(image.content):,} bytes, saved as {PICTURE}",
    )
    PICTURE.write_bytes(picture.content)
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=2)
    code.add_data(ticket.token)
    code.print_ascii(invert=True)
    return ticket


def verdict(scan: scan_pb2.Scan) -> str:
    """Format a verdict, and the earlier scan if the denial names one."""
    if scan.verdict == scan_pb2.VERDICT_ADMITTED:
        return "ADMITTED"
    reason = scan_pb2.DenialReason.Name(scan.denial_reason).removeprefix("DENIAL_REASON_")
    previous = scan.previous
    where = f", at {previous.location} {previous.scan_time.ToDatetime():%H:%M:%S}Z" if previous.scan_id else ""
    return f"DENIED {reason}{where}"


def cancel(transcript: Transcript, holder: ApiClient, ticket_id: str) -> ticket_pb2.Cancellation:
    """Cancel a ticket and check its refund."""
    transcript.section("Bob cancels the other ticket")
    request = ticket_service_pb2.CancelTicketRequest(ticket_id=ticket_id, reason="ill")
    answer = transcript.call(
        "bob",
        "CancelTicket",
        lambda: holder.ask(holder.tickets.CancelTicket, request),
        lambda cancelled: (
            f"refund {euros(cancelled.cancellation.refund_amount)} ({cancelled.cancellation.refund_percent} %), ticket "
            + ticket_pb2.TicketStatus.Name(cancelled.ticket.status).removeprefix("TICKET_STATUS_")
        ),
    )
    expect("the refund", answer.cancellation.refund_amount.minor_units, 2000)
    expect("the cancellation's status", answer.cancellation.status, ticket_pb2.CANCELLATION_STATUS_REFUNDING)
    return answer.cancellation


def wait_for_status(holder: ApiClient, ticket_id: str, expected: int) -> ticket_pb2.Ticket:
    """Fetch a ticket until it has the expected status, for at most SETTLE_SECONDS."""
    request = ticket_service_pb2.GetTicketRequest(ticket_id=ticket_id)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        ticket = holder.ask(holder.tickets.GetTicket, request).ticket
        if ticket.status == expected or time.monotonic() > deadline:
            expect("the status of the ticket", ticket.status, expected)
            return ticket


def run_main_path(transcript: Transcript, services: Services) -> None:
    """Sell two tickets, admit one, and refund the other."""
    organizer, shop = services.client("organizer", "alice"), services.client("service", "web-shop")
    bob, staff = services.client("user", "bob"), services.client("scanner", "gate-staff")
    event = publish(transcript, organizer)
    first, second = buy(transcript, shop, event).tickets
    ticket = fetch_ticket(transcript, bob, first.ticket_id)

    transcript.section("A gate scans both tickets")
    gate = transcript.call(
        "gate",
        "StreamScans, open",
        lambda: _open_gate(staff, event.event_id),
        lambda opened: f"{opened.opened.event_name!r}, at most {opened.opened.max_outstanding_scans} unanswered scans",
    )
    with contextlib.closing(gate):
        scan = transcript.call("gate", "scan", lambda: gate.scan(ticket.token), verdict)
        expect("the first verdict", scan.verdict, scan_pb2.VERDICT_ADMITTED)
        scan = transcript.call("gate", "scan, same ticket", lambda: gate.scan(ticket.token), verdict)
        expect("the second verdict", scan.denial_reason, scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN)

        cancellation = cancel(transcript, bob, second.ticket_id)
        refund = ticket_service_pb2.ConfirmRefundRequest(
            cancellation_id=cancellation.cancellation_id, refund_id=f"refund-{uuid.uuid4().hex[:8]}"
        )
        transcript.call(
            "web shop",
            "ConfirmRefund",
            lambda: shop.ask(shop.tickets.ConfirmRefund, refund),
            lambda _: "the shop has paid the refund",
        )
        scan = transcript.call("gate", "scan, cancelled ticket", lambda: gate.scan(second.token), verdict)
        expect("the verdict on the cancelled ticket", scan.denial_reason, scan_pb2.DENIAL_REASON_REFUNDED)

    transcript.section("The records afterwards")
    transcript.call(
        "bob",
        "GetTicket",
        lambda: wait_for_status(bob, ticket.ticket_id, ticket_pb2.TICKET_STATUS_USED),
        lambda used: f"USED, checked in {used.check_in_time.ToDatetime():%H:%M:%S}Z",
    )
    transcript.call(
        "gate staff",
        "ListScans",
        lambda: staff.ask(staff.scans.ListScans, scan_service_pb2.ListScansRequest(event_id=event.event_id)).scans,
        lambda scans: f"{len(scans)} recorded scans, admitted and denied",
    )


def _open_gate(staff: ApiClient, event_id: str) -> GateClient:
    """Open a stream; repeat until the feed has brought the new event to the scan service."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return GateClient(staff, event_id)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise


def main() -> int:
    """Run the demo; return 0 if every answer was the expected one."""
    Parser(prog="python -m dev.demo", description="Sell, scan and refund tickets.").parse_args()
    transcript = Transcript(colours=sys.stdout.isatty())
    begin = time.perf_counter()
    print("Starting both services on a real PostgreSQL …")
    try:
        with running_services() as services:
            print(f"  both are healthy after {time.perf_counter() - begin:.1f} s")
            run_main_path(transcript, services)
        transcript.table()
    except (UnexpectedError, NotStartedError, grpc.RpcError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    print(f"Every answer was the expected one, after {time.perf_counter() - begin:.1f} s. Both services have stopped.")
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
