"""A shop asks whether the gates have a sale, a block or a move, through outages, restores and restarts."""

from contextlib import closing

import grpc
import pytest
from sqlalchemy.engine import URL

from dev.clients import ApiClient
from tests.e2e.service_pair import NewServicePair, ServicePair, buy, new_gate, on_sale
from tests.environment.access import PEER_METADATA
from tests.environment.databases import execute
from tests.environment.proxy import Proxy
from tests.environment.waiting import eventually
from tests.processes.service import ServiceProcess
from ticketing.scans.v1 import replica_service_pb2, scan_pb2
from ticketing.scans.v1.replica_service_pb2_grpc import ReplicaServiceStub
from ticketing.tickets.v1 import event_pb2, event_service_pb2, ticket_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow


def gates(shop: ApiClient, event: event_pb2.Event, ticket_id: str = "") -> event_service_pb2.GetGateReplicaResponse:
    request = event_service_pb2.GetGateReplicaRequest(event_id=event.event_id, ticket_id=ticket_id)
    return shop.ask(shop.events.GetGateReplica, request)


def block(organizer: ApiClient, ticket: ticket_pb2.Ticket, *, blocked: bool = True) -> None:
    request = ticket_service_pb2.SetTicketBlockedRequest(ticket_id=ticket.ticket_id, blocked=blocked)
    organizer.ask(organizer.tickets.SetTicketBlocked, request)


def test_a_shop_sees_when_the_gates_have_a_change(new_pair: NewServicePair, tickets_url: URL, scans_url: URL) -> None:
    pair = new_pair(tickets_url, scans_url)
    network = Proxy(("127.0.0.1", int(pair.variables["TICKETS_PORT"])))
    pair.variables["SCANS_TICKETS_ADDRESS"], port = network.address, int(network.address.rpartition(":")[2])
    pair.start("ticket_service")
    pair.start("scan_service")
    organizer, shop = pair.caller("organizer", "alice"), pair.caller("service", "shop")
    event = on_sale(organizer)
    first, second = buy(shop, event, quantity=2).tickets
    eventually(lambda: gates(shop, event, first.ticket_id).known)
    with closing(new_gate(pair, event.event_id)) as gate:
        # The replica has the code, which gates find there alone.
        assert gate.scan(first.code).verdict == scan_pb2.VERDICT_ADMITTED
        eventually(lambda: gates(organizer, event).HasField("complete_time"))
        known = gates(organizer, event)
        assert (known.gates_revision, known.answered) == (known.revision, True)

        # The scan service serves, and follows nothing.
        network.cut()
        block(organizer, second)
        behind = gates(shop, event, second.ticket_id)
        assert (behind.known, behind.answered) == (False, True)
        assert behind.gates_revision == known.revision
        assert behind.ticket_revision == behind.revision == known.revision + 1
        # A ticket that did not change is known; the event as a whole is not.
        assert gates(shop, event, first.ticket_id).known
        assert not gates(shop, event).known

        Proxy(("127.0.0.1", int(pair.variables["TICKETS_PORT"])), port)
        eventually(lambda: gates(shop, event, second.ticket_id).known)
        assert gate.scan(second.token).denial_reason == scan_pb2.DENIAL_REASON_BLOCKED
        new_epoch_and_second_process(pair, tickets_url, event, shop)
    pair.stop("scan_service")
    since = gates(shop, event)
    assert (since.known, since.answered, since.HasField("gates_revision")) == (False, False, False)
    assert since.HasField("follow_time")
    # Nobody follows any more, so the time stays.
    block(organizer, second, blocked=False)
    assert gates(shop, event).follow_time == since.follow_time


def new_epoch_and_second_process(pair: ServicePair, tickets_url: URL, event: event_pb2.Event, shop: ApiClient) -> None:
    """In a new epoch, as after a restore, the gates have nothing until they have received everything anew."""
    execute(tickets_url, "UPDATE feed SET epoch = gen_random_uuid()")
    lost = gates(shop, event)
    assert (lost.known, lost.answered, lost.HasField("gates_revision")) == (False, True, False)
    # A recovered service starts again, and its streams with it.
    pair.stop("ticket_service")
    pair.start("ticket_service")
    eventually(lambda: gates(pair.caller("service", "shop"), event).known)
    second = ServiceProcess("scan_service", pair.variables | {"SCANS_PORT": "0"})
    try:
        found = []
        for address in (pair.address("SCANS"), second.address):
            with grpc.insecure_channel(address) as channel:
                request = replica_service_pb2.GetReplicaPositionRequest(event_id=event.event_id)
                found.append(
                    ReplicaServiceStub(channel).GetReplicaPosition(request, metadata=PEER_METADATA, timeout=20)
                )
        assert found[0].revision == found[1].revision > 0
    finally:
        assert second.end() == 0
