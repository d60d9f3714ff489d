"""Two pairs for different events behind one address, by the configuration of `deploy/pairs`."""

import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from string import Template
from typing import cast

import grpc
import pytest
from grpc.aio import AioRpcError
from sqlalchemy.engine import make_url

from dev.clients import ApiClient, GateClient, free_ports
from tests.e2e.service_pair import NewServicePair, ServicePair, buy, on_sale
from tests.environment import ROOT
from tests.environment.access import Issuer
from tests.environment.databases import NewDatabase, read_value
from tests.environment.refusals import reason_of
from tests.environment.waiting import eventually
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import ticket_pb2, ticket_service_pb2

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
TEMPLATE = Template((ROOT / "deploy" / "pairs" / "haproxy.cfg").read_text())
NAMES = ("a", "b")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(HAPROXY is None, reason="needs the Debian package haproxy"),
]

# Makes a client of a pair, by the pair, the role and the subject.
NewClient = Callable[[str, str, str], ApiClient]


@pytest.fixture
def pairs(new_pair: NewServicePair, new_database: NewDatabase, tmp_path: Path) -> dict[str, ServicePair]:
    made = {}
    for name in NAMES:
        made[name] = new_pair(
            new_database("ticket"),
            new_database("scan"),
            # Each pair has its own signing keys.
            TICKETING_DATA_DIR=str(tmp_path / name),
        )
        for module in ("ticket_service", "scan_service"):
            made[name].start(module)
    return made


@pytest.fixture
def client(pairs: dict[str, ServicePair], issuer: Issuer, tmp_path: Path) -> Iterator[NewClient]:
    """Run haproxy in front of both pairs; make clients that call its one address by the names of the pairs."""
    assert HAPROXY is not None
    address = f"127.0.0.1:{free_ports(1)[0]}"
    addresses = {
        f"{prefix}_{name.upper()}": pairs[name].address(prefix) for name in NAMES for prefix in ("TICKETS", "SCANS")
    }
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(TEMPLATE.substitute(ADDRESS=address, **addresses))
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen([HAPROXY, "-db", "-f", str(configuration)]))
        stack.callback(process.kill)

        def make(name: str, role: str, subject: str) -> ApiClient:
            options = [("grpc.default_authority", f"scans-{name}.example.com")]
            channel = stack.enter_context(grpc.insecure_channel(address, options))
            grpc.channel_ready_future(channel).result(20)
            return ApiClient(channel, channel, issuer.token(role, subject))

        yield make


def test_each_pair_sells_admits_and_refunds_its_own_events(pairs: dict[str, ServicePair], client: NewClient) -> None:
    tickets: dict[str, ticket_pb2.Ticket] = {}
    gates: dict[str, GateClient] = {}
    for name, pair in pairs.items():
        event = on_sale(client(name, "organizer", "alice"))
        [kept, cancelled] = buy(client(name, "service", "shop"), event, 2).tickets
        wait_for_replica(pair, event.event_id)
        gates[name] = GateClient(client(name, "scanner", "door"), event.event_id)
        assert gates[name].scan(kept.token).verdict == scan_pb2.VERDICT_ADMITTED
        buyer = client(name, "user", "bob")
        request = ticket_service_pb2.CancelTicketRequest(ticket_id=cancelled.ticket_id)
        assert buyer.ask(buyer.tickets.CancelTicket, request).cancellation.cancellation_id
        assert gates[name].scan(cancelled.token).verdict == scan_pb2.VERDICT_DENIED
        tickets[name] = kept
    # The other pair has neither the event nor the key of its tickets.
    foreign = gates["b"].scan(tickets["a"].token)
    assert foreign.denial_reason == scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
    scanner = client("b", "scanner", "door")
    with pytest.raises(grpc.RpcError) as refused:
        scanner.ask(scanner.scans.ListScans, scan_service_pb2.ListScansRequest(event_id=tickets["a"].event_id))
    # An error of a blocking call has the same details.
    assert reason_of(cast(AioRpcError, refused.value)) == "EVENT_NOT_FOUND"
    with pytest.raises(grpc.RpcError) as unnamed:
        on_sale(client("x", "organizer", "alice"))
    assert unnamed.value.code() == grpc.StatusCode.UNIMPLEMENTED
    for gate in gates.values():
        gate.close()


def wait_for_replica(pair: ServicePair, event_id: str) -> None:
    query = f"SELECT count(*) FROM events WHERE event_id = '{uuid.UUID(event_id)}' AND status <> 'DRAFT'"
    eventually(lambda: read_value(make_url(pair.variables["SCANS_DATABASE_URL"]), query), 1)
