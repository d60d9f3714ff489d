"""Traces of both services as processes, as a collector receives them."""

import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import URL

from dev.clients import ApiClient
from tests.e2e.service_pair import NewServicePair, ServicePair, buy, new_gate, on_sale, purchase_request
from tests.environment.waiting import eventually
from tests.stand_ins.collector import Collector, RecordedSpan, Tree, running_collector
from ticketing.scans.v1 import scan_pb2
from ticketing.tickets.v1 import purchase_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow

PURCHASE = "ticketing.tickets.v1.PurchaseService/PurchaseTickets"
CANCEL = "ticketing.tickets.v1.TicketService/CancelTicket"
REVOKE = "ticketing.scans.v1.RevocationService/RevokeTickets"
STREAM = "ticketing.scans.v1.ScanService/StreamScans"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


def traced(url: str, **more: str) -> dict[str, str]:
    """Return the variables that turn tracing on; only sampled callers are recorded unless `more` says otherwise."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        **more,
    }


def call(client: ApiClient, rpc: object, request: object, trace_id: str) -> object:
    """Make a call as a traced shop does."""
    ids = (("traceparent", f"00-{trace_id}-{'1' * 16}-01"), ("x-request-id", f"of-{trace_id}"))
    metadata = (*client._metadata, *ids)  # noqa: SLF001 - the client has no traces
    return rpc(request, metadata=metadata, timeout=10)  # type: ignore[operator]  # every stub is called like this


def names(tree: Tree) -> list[str]:
    return [one.span.name for one in tree.below]


def statements(tree: Tree) -> list[str]:
    return [one.span.attributes["db.query.text"] for one in tree.below if one.span.name == "SQL"]


def finished(collector: Collector, trace_id: str, name: str) -> RecordedSpan | None:
    return next((span for span in collector.trace(trace_id) if span.name == name and span.parent_id == "1" * 16), None)


def test_calls_scans_and_cancellations_are_trees_across_both_services(
    new_pair: NewServicePair, tickets_url: URL, scans_url: URL, collector: Collector
) -> None:
    pair = new_pair(tickets_url, scans_url, TICKETS_WORKERS="2", **traced(collector.url))
    # The stream of a gate is no call of a traced shop, so the scan service records every one.
    pair.start("ticket_service")
    pair.variables["OTEL_TRACES_SAMPLER"] = "parentbased_always_on"
    pair.start("scan_service")
    organizer, shop = pair.caller("organizer", "alice"), pair.caller("service", "shop")
    event = on_sale(organizer)

    # One purchase: the call, its request to a batch, the batch, and its statements.
    trace_id = uuid.uuid4().hex
    answer = call(shop, shop.purchases.PurchaseTickets, purchase_request(event, 2), trace_id)
    eventually(lambda: finished(collector, trace_id, PURCHASE) is not None)
    tree = collector.tree(trace_id)
    assert (tree.span.service, tree.span.attributes["event_id"]) == ("ticket_service", event.event_id)
    assert (tree.span.attributes["role"], tree.span.attributes["rpc.grpc.status_code"]) == ("service", "OK")
    assert names(tree) == ["purchases"]
    batch = tree.find("batch of purchases")
    assert tree.find("purchases").below == [batch]
    assert batch.span.attributes["batch.size"] == 1
    assert "COMMIT" in statements(batch)[-1]

    # One scan: its own trace, with a link to that of its stream, and its batch below.
    purchase = answer.purchase  # type: ignore[attr-defined]  # as above
    gate = new_gate(pair, event.event_id)
    scan = gate.scan(purchase.tickets[0].token)
    assert scan.verdict == scan_pb2.VERDICT_ADMITTED
    gate.close()
    [stream] = eventually_spans(collector, STREAM, 1)
    [request] = [span for span in collector.spans if span.attributes.get("scan_id") == scan.scan_id]
    assert stream.span_id in request.links
    assert request.trace_id != stream.trace_id
    scanned = collector.tree(request.trace_id)
    assert names(scanned) == ["batch of scans"]
    assert statements(scanned.below[0])

    # One cancellation: the transactions of the ticket service, and the revocation with those of the scan service.
    trace_id = uuid.uuid4().hex
    cancel = ticket_service_pb2.CancelTicketRequest(ticket_id=purchase.tickets[1].ticket_id)
    call(shop, shop.tickets.CancelTicket, cancel, trace_id)
    eventually(lambda: finished(collector, trace_id, CANCEL) is not None)
    eventually(lambda: len([one for one in collector.trace(trace_id) if one.name == REVOKE]), 2)
    tree = collector.tree(trace_id)
    [client] = [one for one in tree.below if one.span.name == REVOKE]
    [server] = client.below
    assert (client.span.service, server.span.service) == ("ticket_service", "scan_service")
    assert server.span.attributes["role"] == "peer"
    assert {one.span.attributes["x_request_id"] for one in (tree, server)} == {f"of-{trace_id}"}
    revoking = server.find("database (scan_service revocations)")
    assert any("UPDATE" in text for text in statements(revoking))
    recorded, *later = [one for one in tree.below if one.span.name == "database (ticket_service calls)"]
    assert any("INSERT INTO cancellations" in text for text in statements(recorded))
    assert any("UPDATE cancellations" in text for one in later for text in statements(one))

    # A purchase that was not sampled by its caller, and background work, are not recorded.
    buy(shop, event)
    assert {span.service for span in collector.spans} == {"ticket_service", "scan_service"}
    assert [span.trace_id for span in collector.spans if span.name == PURCHASE] == [
        one_of(collector, PURCHASE).trace_id
    ]
    check_no_values(collector, purchase, pair)


def eventually_spans(collector: Collector, name: str, count: int) -> list[RecordedSpan]:
    eventually(lambda: len([span for span in collector.spans if span.name == name]), count)
    return [span for span in collector.spans if span.name == name]


def one_of(collector: Collector, name: str) -> RecordedSpan:
    return next(span for span in collector.spans if span.name == name)


def check_no_values(collector: Collector, purchase: purchase_pb2.Purchase, pair: ServicePair) -> None:
    """Check that no export contains a value of a request: a user, a token, a code, an external payment."""
    exported = b"".join(collector.bodies)
    secrets = [ticket.token for ticket in purchase.tickets] + [ticket.code for ticket in purchase.tickets]
    for secret in [*secrets, "bob", "North 3", "Concert", pair.variables["TICKETING_PEER_SECRET"]]:
        assert secret.encode() not in exported, secret
