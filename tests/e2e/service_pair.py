"""Both services and the relay as processes, and the first steps of every test of them."""

import signal
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from sqlalchemy.engine import make_url

from dev.clients import ApiClient, GateClient
from tests.environment.access import Issuer
from tests.environment.databases import read_value
from tests.environment.waiting import eventually
from tests.processes.service import ServiceProcess
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2, event_service_pb2, money_pb2, purchase_pb2, purchase_service_pb2


@dataclass
class ServicePair:
    """Both services and the relay on fixed ports and databases; a test starts, stops and restarts each."""

    variables: dict[str, str]
    issuer: Issuer
    stack: ExitStack
    running: dict[str, ServiceProcess] = field(default_factory=dict)
    # The logs of the stopped services.
    log: str = ""

    def start(self, module: str) -> ServiceProcess:
        """Start or restart a service, or the "relay"."""
        command = ("ticket_service", "relay") if module == "relay" else (module,)
        process = ServiceProcess(command[0], self.variables, *command[1:])
        self.running[module] = process
        return process

    def stop(self, module: str, number: int = signal.SIGTERM) -> int:
        """Stop a service by a signal; return its exit status."""
        process = self.running.pop(module)
        status = process.end(number)
        self.log += process.log()
        return status

    def address(self, prefix: str) -> str:
        """Return the address of the service whose settings have the prefix."""
        return f"127.0.0.1:{self.variables[f'{prefix}_PORT']}"

    def caller(self, role: str, subject: str) -> ApiClient:
        """Make a client. Its channels are new, so that no call waits for the back-off of an earlier failure."""
        tickets = self.stack.enter_context(grpc.insecure_channel(self.address("TICKETS")))
        scans = self.stack.enter_context(grpc.insecure_channel(self.address("SCANS")))
        return ApiClient(tickets, scans, self.issuer.token(role, subject))


NewServicePair = Callable[..., ServicePair]


def on_sale(organizer: ApiClient, **fields: Any) -> event_pb2.Event:
    """Publish an event whose doors are open; `fields` replace or add to the default fields."""
    now = datetime.now(UTC)
    event = event_pb2.Event(
        name="Concert",
        event_type=event_pb2.EVENT_TYPE_OTHER,
        doors_open_time=timestamp(now - timedelta(minutes=1)),
        start_time=timestamp(now + timedelta(hours=1)),
        end_time=timestamp(now + timedelta(hours=3)),
        ticket_price=money_pb2.Money(currency_code="EUR", minor_units=2500),
        refund_policy=event_pb2.RefundPolicy(tiers=[event_pb2.RefundPolicy.Tier(days_before=0, percent=100)]),
    )
    event.MergeFrom(event_pb2.Event(**fields))
    created = organizer.ask(
        organizer.events.CreateEvent, event_service_pb2.CreateEventRequest(request_id=str(uuid.uuid4()), event=event)
    ).event
    request = event_service_pb2.PublishEventRequest(event_id=created.event_id)
    return organizer.ask(organizer.events.PublishEvent, request).event


def purchase_request(
    event: event_pb2.Event, quantity: int = 1, user_id: str = "bob"
) -> purchase_service_pb2.PurchaseTicketsRequest:
    """Build the request for tickets that the shop was paid for."""
    total = event.ticket_price.minor_units * quantity
    return purchase_service_pb2.PurchaseTicketsRequest(
        request_id=str(uuid.uuid4()),
        event_id=event.event_id,
        items=[purchase_pb2.PurchaseItem(ticket_type=event_pb2.TICKET_TYPE_STANDARD, quantity=quantity)],
        external_payment_id=str(uuid.uuid4()),
        expected_total=money_pb2.Money(currency_code="EUR", minor_units=total),
        user_id=user_id,
    )


def buy(shop: ApiClient, event: event_pb2.Event, quantity: int = 1, user_id: str = "bob") -> purchase_pb2.Purchase:
    return shop.ask(shop.purchases.PurchaseTickets, purchase_request(event, quantity, user_id)).purchase


def new_gate(pair: ServicePair, event_id: str) -> GateClient:
    """Open a gate once the scan service has the published event in its replica, as gates on the day have.

    A stream opens for a draft too, and a test may stop the ticket service before the publication is replicated.
    """
    scans_url = make_url(pair.variables["SCANS_DATABASE_URL"])
    query = f"SELECT count(*) FROM events WHERE event_id = '{uuid.UUID(event_id)}' AND status <> 'DRAFT'"
    eventually(lambda: read_value(scans_url, query), 1)
    return GateClient(pair.caller("scanner", "door"), event_id)
