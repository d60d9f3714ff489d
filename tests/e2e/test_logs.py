"""The logs of both services and the relay: failed calls are told apart, and no personal data is in any line."""

import json
import socket
import uuid
from typing import Any

import grpc
import pytest
from sqlalchemy.engine import URL

from dev.clients import ApiClient
from tests.e2e.service_pair import NewServicePair, ServicePair, new_gate, on_sale, purchase_request
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, purchase_service_pb2, ticket_service_pb2

pytestmark = pytest.mark.slow

MAIL, NAME, SEAT = "vera.muster@example.com", "Vera Muster", "Box of Vera"
EVENT_NAME, GATE = "Private wedding", "North 3"
TICKETS, PURCHASES = "ticketing.tickets.v1.TicketService", "ticketing.tickets.v1.PurchaseService"
EVENTS = "ticketing.tickets.v1.EventService"
NOT_FOUND = grpc.StatusCode.NOT_FOUND


def refused(client: ApiClient, rpc: Any, request: Any, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        client.ask(rpc, request)
    assert failed.value.code() is code


def lines(text: str) -> list[dict[str, Any]]:
    """Parse a log, of which every line is JSON."""
    return [json.loads(line) for line in text.splitlines()]


def stopped(pair: ServicePair) -> str:
    """Stop everything and return the whole log."""
    for module in list(pair.running):
        pair.stop(module)
    return pair.log


def test_every_failed_call_is_told_apart_and_no_line_is_personal(
    new_pair: NewServicePair, tickets_url: URL, scans_url: URL
) -> None:
    # Every unary call is slow, so each has a line.
    pair = new_pair(tickets_url, scans_url, TICKETING_SLOW_CALL_SECONDS="0.001")
    for module in ("ticket_service", "scan_service", "relay"):
        pair.start(module)
    event = on_sale(pair.caller("organizer", "alice"), name=EVENT_NAME)
    purchase, unknown = fail_calls(pair, event), str(uuid.uuid4())
    fail_scans_and_cancellations(pair, purchase)
    speak_another_protocol(pair)
    user = pair.caller("user", "bob")
    refused(user, user.tickets.GetTicket, ticket_service_pb2.GetTicketRequest(ticket_id=unknown), NOT_FOUND)
    log = stopped(pair)
    written = lines(log)
    check_failures(written, event.event_id, purchase, unknown)
    check_waits(written)
    # The relay has no port, and other libraries are quiet.
    assert sorted(one.get("port") is None for one in written if one["message"] == "serving") == [False, False, True]
    assert {one["logger"].partition(".")[0] for one in written} <= {"ticketing", "ticket_service", "scan_service"}
    check_nothing_personal(log, pair, list(purchase.tickets))


def fail_calls(pair: ServicePair, event: event_pb2.Event) -> purchase_pb2.Purchase:
    """Sell two tickets with personal data, and make calls that fail; return the purchase."""
    shop, user, other = pair.caller("service", "shop"), pair.caller("user", "bob"), pair.caller("organizer", "eve")
    order = purchase_request(event, 2, user_id="customer-4711")
    order.email = MAIL
    order.metadata.update({"holder": NAME, "seat": SEAT})
    purchase = shop.ask(shop.purchases.PurchaseTickets, order).purchase
    request = purchase_service_pb2.GetPurchaseRequest(purchase_id=purchase.purchase_id)
    refused(user, user.purchases.GetPurchase, request, NOT_FOUND)
    publish = event_service_pb2.PublishEventRequest(event_id=event.event_id)
    refused(user, user.events.PublishEvent, publish, grpc.StatusCode.PERMISSION_DENIED)
    refused(other, other.events.PublishEvent, publish, NOT_FOUND)
    wrong = purchase_request(event, user_id="customer-4711")
    wrong.event_id, wrong.email = NAME, f"{MAIL} and more"
    refused(shop, shop.purchases.PurchaseTickets, wrong, grpc.StatusCode.INVALID_ARGUMENT)
    repeated = purchase_request(event, 1, user_id="customer-4711")
    repeated.request_id = order.request_id
    refused(shop, shop.purchases.PurchaseTickets, repeated, grpc.StatusCode.ALREADY_EXISTS)
    by_mail = pair.caller("user", MAIL)
    look = ticket_service_pb2.GetTicketRequest(code=purchase.tickets[1].code)
    refused(by_mail, by_mail.tickets.GetTicket, look, NOT_FOUND)
    return purchase


def fail_scans_and_cancellations(pair: ServicePair, purchase: purchase_pb2.Purchase) -> None:
    first, second = purchase.tickets
    gate = new_gate(pair, first.event_id)
    assert gate.scan(first.token).verdict == scan_pb2.VERDICT_ADMITTED
    assert gate.scan(first.code).denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    faulty = scan_service_pb2.ScanAttempt(scan_id=NAME, code=first.token)
    gate._requests.put(scan_service_pb2.StreamScansRequest(scan=faulty))  # noqa: SLF001 - a faulty device
    assert next(gate._answers).WhichOneof("message") == "rejected"  # noqa: SLF001 - as above
    gate.close()
    shop = pair.caller("service", "shop")
    cancel = ticket_service_pb2.CancelTicketRequest(ticket_id=first.ticket_id)
    refused(shop, shop.tickets.CancelTicket, cancel, grpc.StatusCode.FAILED_PRECONDITION)
    shop.ask(shop.tickets.CancelTicket, ticket_service_pb2.CancelTicketRequest(ticket_id=second.ticket_id))


def speak_another_protocol(pair: ServicePair) -> None:
    for prefix in ("TICKETS", "SCANS"):
        host, _, port = pair.address(prefix).partition(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")


def check_failures(written: list[dict[str, Any]], event_id: str, purchase: purchase_pb2.Purchase, unknown: str) -> None:
    def failed(method: str, reason: str) -> dict[str, Any]:
        wire = f"ERROR_REASON_{reason}"
        [line] = [one for one in written if one.get("method") == f"/{method}" and one.get("reason") == wire]
        assert line["request_id"]
        assert line["milliseconds"] > 0
        return line

    found = [one for one in written if one.get("reason") == "ERROR_REASON_TICKET_NOT_FOUND"]
    assert [(one["caller"], one["role"], one.get("ticket_id")) for one in found] == [
        ("[removed]", "user", None),
        ("bob", "user", unknown),
    ]
    assert failed(f"{PURCHASES}/GetPurchase", "PURCHASE_NOT_FOUND")["purchase_id"] == purchase.purchase_id
    line = failed(f"{EVENTS}/PublishEvent", "FORBIDDEN")
    assert (line["caller"], line["role"], line["code"]) == ("bob", "user", "PERMISSION_DENIED")
    line = failed(f"{EVENTS}/PublishEvent", "EVENT_NOT_FOUND")
    assert (line["caller"], line["event_id"]) == ("eve", event_id)
    assert "event_id" not in failed(f"{PURCHASES}/PurchaseTickets", "INVALID_ARGUMENT")
    assert failed(f"{PURCHASES}/PurchaseTickets", "REQUEST_ID_REUSED")["event_id"] == event_id
    line = failed(f"{TICKETS}/CancelTicket", "TICKET_CHECKED_IN")
    assert (line["caller"], line["ticket_id"]) == ("shop", purchase.tickets[0].ticket_id)
    [line] = [one for one in written if one["message"] == "a scan was rejected"]
    assert (line["caller"], line["event_id"]) == ("door", event_id)


def check_waits(written: list[dict[str, Any]]) -> None:
    """Check that slow calls name what they waited for, also the other service."""

    def waits(method: str) -> set[str]:
        slow = [one for one in written if one.get("method") == f"/{method}" and one["code"] == "OK"]
        assert {one["message"] for one in slow} == {"a slow call ended"}
        return set(slow[0]["waited_milliseconds"])

    assert waits(f"{TICKETS}/CancelTicket") >= {
        "database (ticket_service calls)",
        "ticketing.scans.v1.RevocationService/RevokeTickets",
    }
    assert "batch of purchases" in waits(f"{PURCHASES}/PurchaseTickets")


def check_nothing_personal(log: str, pair: ServicePair, tickets: list[Any]) -> None:
    """Check that no planted text is in a log."""
    secrets = [secret for ticket in tickets for secret in (ticket.token, ticket.code, ticket.code.partition("-")[2])]
    planted = [MAIL, "vera", NAME, SEAT, EVENT_NAME, GATE, pair.variables["TICKETING_PEER_SECRET"], "eyJ", *secrets]
    for text in planted:
        assert text.lower() not in log.lower(), text
