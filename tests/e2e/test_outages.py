"""Each service works while the other one is down, and completes its unfinished work afterwards."""

import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from dev.clients import ApiClient
from tests.e2e.service_pair import NewServicePair, ServicePair, buy, new_gate, on_sale
from tests.environment.proxy import Proxy
from tests.environment.waiting import eventually
from ticketing.chassis.connections import database_url
from ticketing.chassis.postgres import Lease
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import ticket_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow


@pytest.fixture
def tickets_server(tmp_path: Path) -> Iterator[Lease]:
    """Run a second database server for the tickets database; the test may stop it."""
    with Lease(tmp_path / "a server for tickets", fsync_initdb=False) as server:
        yield server


def test_gates_admit_without_the_ticket_service_and_its_database(
    new_pair: NewServicePair, tickets_server: Lease, scans_url: URL
) -> None:
    pair = new_pair(database_url(tickets_server.url("tickets")), scans_url)
    network = Proxy(("127.0.0.1", int(pair.variables["TICKETS_PORT"])))
    pair.variables["SCANS_TICKETS_ADDRESS"] = network.address
    pair.start("ticket_service")
    pair.start("scan_service")
    organizer, shop = pair.caller("organizer", "alice"), pair.caller("service", "shop")
    event = on_sale(organizer)
    replicated, second_replicated = buy(shop, event, quantity=2).tickets
    with closing(new_gate(pair, event.event_id)) as gate:
        # The scan service finds a typed code in its replica alone.
        eventually(lambda: gate.scan(replicated.code).verdict, scan_pb2.VERDICT_ADMITTED)

        network.cut()
        bought_since = buy(shop, event).tickets[0]
        pair.stop("ticket_service", signal.SIGKILL)
        tickets_server.release()

        assert gate.scan(bought_since.code).denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
        assert gate.scan(bought_since.token).verdict == scan_pb2.VERDICT_ADMITTED
        assert gate.scan(bought_since.token).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
        assert gate.scan(second_replicated.token).verdict == scan_pb2.VERDICT_ADMITTED
        assert gate.scan(replicated.token).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN


def cancel(holder: ApiClient, ticket_id: str) -> ticket_service_pb2.CancelTicketResponse:
    return holder.ask(holder.tickets.CancelTicket, ticket_service_pb2.CancelTicketRequest(ticket_id=ticket_id))


def status(holder: ApiClient, cancellation: ticket_pb2.Cancellation) -> int:
    request = ticket_service_pb2.GetCancellationRequest(cancellation_id=cancellation.cancellation_id)
    return holder.ask(holder.tickets.GetCancellation, request).cancellation.status


def test_a_cancellation_waits_for_the_scan_service_and_completes(pair: ServicePair) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    ticket = buy(pair.caller("service", "shop"), event).tickets[0]
    bob = pair.caller("user", "bob")
    new_gate(pair, event.event_id).close()

    pair.stop("scan_service", signal.SIGKILL)
    answer = cancel(bob, ticket.ticket_id)
    assert answer.cancellation.status == ticket_pb2.CANCELLATION_STATUS_PENDING
    assert answer.ticket.status == ticket_pb2.TICKET_STATUS_ACTIVE
    # A repeated request returns the same cancellation.
    assert cancel(bob, ticket.ticket_id).cancellation.cancellation_id == answer.cancellation.cancellation_id

    pair.start("scan_service")
    eventually(lambda: status(bob, answer.cancellation), ticket_pb2.CANCELLATION_STATUS_REFUNDING)
    with closing(new_gate(pair, event.event_id)) as gate:
        assert gate.scan(ticket.token).denial_reason == scan_pb2.DENIAL_REASON_REFUNDED
        assert gate.scan(ticket.code).denial_reason == scan_pb2.DENIAL_REASON_REFUNDED


def test_a_pending_cancellation_completes_after_a_crash(pair: ServicePair) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    ticket = buy(pair.caller("service", "shop"), event).tickets[0]
    new_gate(pair, event.event_id).close()
    pair.stop("scan_service", signal.SIGKILL)
    pending = cancel(pair.caller("user", "bob"), ticket.ticket_id).cancellation

    pair.stop("ticket_service", signal.SIGKILL)
    pair.start("ticket_service")
    pair.start("scan_service")

    bob = pair.caller("user", "bob")
    eventually(lambda: status(bob, pending), ticket_pb2.CANCELLATION_STATUS_REFUNDING)


def test_check_ins_are_reported_after_an_outage(pair: ServicePair) -> None:
    event = on_sale(pair.caller("organizer", "alice"))
    ticket = buy(pair.caller("service", "shop"), event).tickets[0]
    with closing(new_gate(pair, event.event_id)) as gate:
        pair.stop("ticket_service", signal.SIGKILL)
        assert gate.scan(ticket.token).verdict == scan_pb2.VERDICT_ADMITTED
        pair.start("ticket_service")
        bob = pair.caller("user", "bob")
        request = ticket_service_pb2.GetTicketRequest(ticket_id=ticket.ticket_id)
        eventually(lambda: bob.ask(bob.tickets.GetTicket, request).ticket.status, ticket_pb2.TICKET_STATUS_USED)
