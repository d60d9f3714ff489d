"""Both services move to a new database server: a replica that names itself in their URLs is promoted."""

from functools import partial

import pytest

from tests.e2e.service_pair import NewServicePair, buy, new_gate, on_sale
from tests.environment.clusters import Pair as Servers
from tests.environment.clusters import pair as servers
from tests.environment.databases import execute, read_value
from tests.environment.http_port import READY, readiness
from tests.environment.waiting import eventually
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow

__all__ = ["servers"]


def test_a_pair_moves_to_a_new_database_server(servers: Servers, new_pair: NewServicePair) -> None:
    for name in ("tickets", "scans"):
        execute(servers.primary.url(), f"CREATE DATABASE {name}")
    pair = new_pair(servers.url("tickets"), servers.url("scans"))
    for module in ("ticket_service", "scan_service"):
        pair.start(module)
    organizer, shop = pair.caller("organizer", "alice"), pair.caller("service", "shop")
    event = on_sale(organizer)
    first, second = buy(shop, event, 2).tickets
    gate = new_gate(pair, event.event_id)
    assert gate.scan(first.token).verdict == scan_pb2.VERDICT_ADMITTED
    gate.close()

    # The old server sends everything to the replica before it has stopped.
    servers.stop_primary()
    servers.take_over()

    for module in ("ticket_service", "scan_service"):
        eventually(partial(readiness, pair.running[module].metrics_port), (200, READY))
    [third] = eventually(lambda: buy(shop, event).tickets)
    assert read_value(servers.primary.url("tickets"), "SELECT count(*) FROM tickets") == 3
    gate = new_gate(pair, event.event_id)
    assert gate.scan(first.token).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    for ticket in (second, third):
        assert gate.scan(ticket.token).verdict == scan_pb2.VERDICT_ADMITTED
    gate.close()
