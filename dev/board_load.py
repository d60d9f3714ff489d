"""A sale and its doors for some minutes, with everything that goes wrong at both, so that each panel of a board moves."""

import contextlib
import random
import threading
import time
import uuid
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import grpc

from dev.clients import ApiClient, GateClient, Services
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import device_service_pb2, device_service_pb2_grpc, scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import (
    event_pb2,
    money_pb2,
    purchase_pb2,
    purchase_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)

GATES: Final = ("North 1", "North 2", "South 1")
BUYERS: Final = 2
# One of so many webhooks is refused; it becomes a dead letter after a few tries.
REFUSED_WEBHOOKS: Final = 40
WEBHOOK_SECONDS: Final = 0.05


@dataclass
class Load:
    """The events, and their tickets that were sold and not used yet."""

    services: Services
    events: list[event_pb2.Event] = field(default_factory=list)
    tickets: defaultdict[str, deque[ticket_pb2.Ticket]] = field(default_factory=lambda: defaultdict(deque))
    used: deque[ticket_pb2.Ticket] = field(default_factory=lambda: deque(maxlen=200))
    stopped: threading.Event = field(default_factory=threading.Event)

    def repeat(self, work: Callable[[], None], seconds: float) -> None:
        """Repeat work until the stop, with a random pause; a call that fails is part of the load."""
        while not self.stopped.wait(random.uniform(0, 2 * seconds)):  # noqa: S311 - no secret
            # Without tickets, there is nothing to scan or to cancel yet.
            with contextlib.suppress(grpc.RpcError, IndexError):
                work()


@contextlib.contextmanager
def running_load(services: Services) -> Iterator[None]:
    """Sell and scan in threads during the block."""
    load = Load(services)
    organizer = services.client("organizer", "alice")
    for name, places in (("Night of Lights", 900), ("Harbour Run", 120), ("Chamber Music", 2_000)):
        load.events.append(organizer.publish(_event(name, places)))
    shop = services.client("service", "web-shop")
    works: list[tuple[Callable[[], None], float]] = [(lambda: _buy(load, shop), 0.15)] * BUYERS
    works += [(lambda: _cancel(load, shop), 1.5)]
    for number, name in enumerate(GATES):
        works.append((_gate(load, _device(services, name), load.events[number]), 0.25))
    works += [(_gate(load, services.client("scanner", "staff"), load.events[0]), 0.8)]
    works += [(_offline(load, _device(services, "Back door")), 0.7)]
    threads = [threading.Thread(target=load.repeat, args=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join()


def _event(name: str, places: int) -> event_pb2.Event:
    now = datetime.now(UTC).replace(microsecond=0)
    return event_pb2.Event(
        name=name,
        event_type=event_pb2.EVENT_TYPE_OTHER,
        doors_open_time=timestamp(now - timedelta(minutes=5)),
        start_time=timestamp(now + timedelta(hours=1)),
        end_time=timestamp(now + timedelta(hours=5)),
        max_participants=places,
        ticket_price=money_pb2.Money(currency_code="CHF" if name == "Chamber Music" else "EUR", minor_units=2_500),
        refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=80)]),
    )


def _buy(load: Load, shop: ApiClient) -> None:
    """Buy one to four tickets; some orders are held, of which some are paid or released and the others expire."""
    event, chance = random.choice(load.events), random.random()  # noqa: S311 - no secret
    request = purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=event.event_id,
        items=[
            purchase_pb2.PurchaseItem(
                # A few orders ask for more than the terms permit.
                ticket_type=event_pb2.TICKET_TYPE_STANDARD,
                quantity=25 if chance > 0.97 else random.randint(1, 4),  # noqa: PLR2004, S311 - a share
            )
        ],
        user_id=f"user-{random.randrange(1_000)}",  # noqa: S311 - no secret
    )
    is_held = chance < 0.2  # noqa: PLR2004 - a share
    if not is_held:
        request.external_payment_id = str(uuid.uuid4())
        total = request.items[0].quantity * event.ticket_price.minor_units
        request.expected_total.CopyFrom(
            money_pb2.Money(currency_code=event.ticket_price.currency_code, minor_units=total)
        )
    purchase = shop.ask(shop.purchases.PurchaseTickets, request).purchase
    if is_held and chance < 0.1:  # noqa: PLR2004 - a share
        confirmation = purchase_service_pb2.ConfirmPurchaseRequest(
            purchase_id=purchase.purchase_id, external_payment_id=str(uuid.uuid4()), paid=purchase.total
        )
        purchase = shop.ask(shop.purchases.ConfirmPurchase, confirmation).purchase
    elif is_held and chance < 0.13:  # noqa: PLR2004 - a share
        release = purchase_service_pb2.ReleasePurchaseRequest(purchase_id=purchase.purchase_id)
        shop.ask(shop.purchases.ReleasePurchase, release)
    load.tickets[event.event_id].extend(purchase.tickets)


def _cancel(load: Load, shop: ApiClient) -> None:
    """Cancel a ticket; the shop confirms most refunds."""
    ticket = load.tickets[random.choice(load.events).event_id].pop()  # noqa: S311 - no secret
    done = shop.ask(shop.tickets.CancelTicket, ticket_service_pb2.CancelTicketRequest(ticket_id=ticket.ticket_id))
    if random.random() < 0.8:  # noqa: PLR2004, S311 - a share
        refund = ticket_service_pb2.ConfirmRefundRequest(
            cancellation_id=done.cancellation.cancellation_id, refund_id=str(uuid.uuid4())
        )
        shop.ask(shop.tickets.ConfirmRefund, refund)
    load.used.append(ticket)


def _device(services: Services, name: str) -> ApiClient:
    """Enroll a gate device."""
    stub = device_service_pb2_grpc.DeviceServiceStub(services.scans)
    organizer = services.client("organizer", "alice")
    created = organizer.ask(
        stub.CreateDevice, device_service_pb2.CreateDeviceRequest(name=name, request_id=str(uuid.uuid4()))
    )
    enrolled = stub.EnrollDevice(
        device_service_pb2.EnrollDeviceRequest(enrollment_code=created.enrollment_code), timeout=10
    )
    return ApiClient(services.tickets, services.scans, enrolled.access_token)


def _gate(load: Load, client: ApiClient, event: event_pb2.Event) -> Callable[[], None]:
    """Return the next scan of a gate: mostly new tickets, and some used, cancelled and unknown ones."""
    gate: GateClient | None = None

    def scan() -> None:
        nonlocal gate
        chance = random.random()  # noqa: S311 - no secret
        if gate is None:
            gate = GateClient(client, event.event_id)
        try:
            if chance < 0.08 and load.used:  # noqa: PLR2004 - a share
                gate.scan(load.used[-1].token)
            elif chance < 0.1:  # noqa: PLR2004 - a share
                gate.scan("TKT-0123456789ABCDEF")
            elif chance < 0.12:  # noqa: PLR2004 - a share
                # A gate of an event that does not exist.
                _scan_once(client, str(uuid.uuid4()), "TKT-0123456789ABCDEF")
            else:
                ticket = load.tickets[event.event_id].popleft()
                gate.scan(ticket.token)
                load.used.append(ticket)
        except (grpc.RpcError, StopIteration):
            # The stream has a deadline.
            gate = None

    return scan


def _offline(load: Load, client: ApiClient) -> Callable[[], None]:
    """Return the upload of an admission that a device decided without a connection, some of used tickets."""

    def upload() -> None:
        is_again = random.random() < 0.15 and load.used  # noqa: PLR2004, S311 - a share
        ticket = load.used[0] if is_again else load.tickets[load.events[-1].event_id].popleft()
        earlier = timestamp(datetime.now(UTC) - timedelta(seconds=20))
        decision = scan_service_pb2.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED, scan_time=earlier)
        _scan_once(client, ticket.event_id, ticket.token, decision)

    return upload


def _scan_once(
    client: ApiClient, event_id: str, code: str, offline: scan_service_pb2.OfflineDecision | None = None
) -> None:
    attempt = scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=code, offline=offline)
    gate = scan_pb2.Gate(event_id=event_id, location="Back door")
    client.ask(client.scans.ScanTicket, scan_service_pb2.ScanTicketRequest(gate=gate, attempt=attempt))


class _Webhook(BaseHTTPRequestHandler):
    """A slow receiver of notifications, which refuses some for good."""

    def do_POST(self) -> None:
        """Answer one post."""
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(WEBHOOK_SECONDS)
        refuses = zlib.crc32(self.headers["webhook-id"].encode()) % REFUSED_WEBHOOKS == 0
        self.send_response(500 if refuses else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log no requests."""


@contextlib.contextmanager
def running_webhook() -> Iterator[str]:
    """Run a receiver of webhooks during the block; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Webhook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
