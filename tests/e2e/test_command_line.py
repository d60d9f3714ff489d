"""An operator uses grpcurl and buf curl, which find the services by reflection alone."""

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service_pair import ServicePair, new_gate, on_sale, purchase_request
from tests.environment.waiting import eventually
from ticketing.chassis.postgres import Lease
from ticketing.scans.v1 import scan_pb2

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
TICKETS = [
    "ticketing.tickets.v1.EventService",
    "ticketing.tickets.v1.PurchaseService",
    "ticketing.tickets.v1.ChangeService",
    "ticketing.tickets.v1.ErasureService",
    "ticketing.tickets.v1.TicketFeedService",
    "ticketing.tickets.v1.TicketService",
]
SCANS = [
    "ticketing.scans.v1.DeviceService",
    "ticketing.scans.v1.GateChangeService",
    "ticketing.scans.v1.RecoveryService",
    "ticketing.scans.v1.ReplicaService",
    "ticketing.scans.v1.RevocationService",
    "ticketing.scans.v1.ScanService",
    "ticketing.scans.v1.ScannerService",
]
INFRASTRUCTURE = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
]


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def grpcurl() -> str:
    found = shutil.which("grpcurl", path=str(BIN))
    if found is None:
        pytest.skip("the package of grpcurl exists for Linux x86_64 alone")
    return found


def by_grpcurl(address: str, method: str, token: str, messages: list[dict[str, Any]]) -> str:
    data = "".join(json.dumps(message) for message in messages)
    return run(grpcurl(), "-plaintext", "-H", f"authorization: Bearer {token}", "-d", data, address, method)


def refused_by_grpcurl(address: str, method: str, token: str, message: dict[str, Any]) -> str:
    command = [
        grpcurl(),
        "-plaintext",
        "-H",
        f"authorization: Bearer {token}",
        "-d",
        json.dumps(message),
        address,
        method,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode != 0
    return result.stderr


def by_buf(address: str, method: str, token: str, messages: list[dict[str, Any]]) -> str:
    data = "".join(json.dumps(message) for message in messages)
    options = ["--http2-prior-knowledge", "--protocol", "grpc", "-H", f"Authorization: Bearer {token}", "-d", data]
    return run(str(BIN / "buf"), "curl", *options, f"http://{address}/{method}")


def test_an_operator_runs_commands_with_the_settings_of_make_up(tmp_path: Path, postgres: Lease) -> None:
    database = {"TICKETS_DATABASE_URL": postgres.url("commanded"), "TICKETING_DATA_DIR": str(tmp_path)}
    for command in ("migrate", "audit"):
        printed = run(sys.executable, "-m", "dev.command", "ticket_service", command, environment=os.environ | database)
    assert "BROKEN" not in printed
    assert "ok every payment has its entry in the ledger" in printed


def test_grpcurl_lists_and_describes_every_service(pair: ServicePair) -> None:
    for prefix, services in (("TICKETS", TICKETS), ("SCANS", SCANS)):
        address = pair.address(prefix)
        assert run(grpcurl(), "-plaintext", address, "list").split() == sorted([*services, *INFRASTRUCTURE])
        for service in services:
            described = run(grpcurl(), "-plaintext", address, "describe", service)
            assert described.startswith(f"{service} is a service:")
            assert "rpc " in described


def test_buf_curl_lists_every_method(pair: ServicePair) -> None:
    options = ["--http2-prior-knowledge", "--protocol", "grpc", "--list-methods"]
    for prefix, services in (("TICKETS", TICKETS), ("SCANS", SCANS)):
        listed = run(str(BIN / "buf"), "curl", *options, f"http://{pair.address(prefix)}").split()
        assert {method.split("/")[0] for method in listed} >= set(services)


def test_an_operator_repairs_a_night_by_grpcurl(pair: ServicePair) -> None:
    """A guest at the gate: found by payment, address and name; the code replaced, a scan annulled, the event moved."""
    organizer, shop = pair.caller("organizer", "alice"), pair.caller("service", "shop")
    event = on_sale(organizer)
    order = purchase_request(event, quantity=2)
    order.email, order.external_payment_id = "anna@example.com", "bank-4711"
    order.metadata["holder_name"] = "Anna Holm"
    first, second = shop.ask(shop.purchases.PurchaseTickets, order).purchase.tickets
    token, printed = pair.issuer.token("operator", "opal"), list[str]()

    def call(service: str, method: str, **message: Any) -> dict[str, Any]:
        address = pair.address(
            "SCANS" if service in {"ScanService", "DeviceService", "GateChangeService"} else "TICKETS"
        )
        package = "scans" if address == pair.address("SCANS") else "tickets"
        printed.append(by_grpcurl(address, f"ticketing.{package}.v1.{service}/{method}", token, [message]))
        return documents(printed[-1])[0]

    [by_payment] = call("PurchaseService", "ListPurchases", paymentId="bank-4711")["purchases"]
    assert by_payment["purchase_id"] == first.purchase_id
    by_address = call("TicketService", "ListTickets", email="Anna@example.com")["tickets"]
    by_name = call("TicketService", "ListTickets", eventId=event.event_id, holder="holm anna")["tickets"]
    assert {one["ticket_id"] for one in by_address} == {first.ticket_id, second.ticket_id}
    assert by_address == by_name

    with closing(new_gate(pair, event.event_id)) as gate:
        wrongly_admitted = gate.scan(second.token)
        reissue = {"ticketId": first.ticket_id, "requestId": str(uuid.uuid4())}
        assert call("TicketService", "ReissueTicket", **reissue)["ticket"]["issue"] == 2
        assert gate.scan(first.token).denial_reason == scan_pb2.DENIAL_REASON_SUPERSEDED
    denied, admitted = call("ScanService", "ListScans", eventId=event.event_id)["scans"]
    assert (denied["denial_reason"], admitted["verdict"]) == ("DENIAL_REASON_SUPERSEDED", "VERDICT_ADMITTED")
    assert admitted["code"] == f"{second.code[:10]}…"
    assert "annul_time" in call("ScanService", "AnnulScan", scanId=wrongly_admitted.scan_id)["scan"]
    moved = {"eventId": event.event_id, "location": "Big hall"}
    assert (
        call("EventService", "UpdateEvent", event=moved, updateMask={"paths": ["location"]})["event"]["location"]
        == "Big hall"
    )
    # The annulment reaches the ticket service by a report.
    eventually(lambda: "check_in_time" not in call("TicketService", "GetTicket", ticketId=second.ticket_id)["ticket"])
    cancelled = call("TicketService", "CancelTicket", ticketId=second.ticket_id)
    assert "refund_amount" in cancelled["cancellation"]

    for refused, request in (
        ("TicketService/RenderTicket", {"ticketId": first.ticket_id}),
        ("PurchaseService/CorrectEmail", {"requestId": str(uuid.uuid4()), "ticketId": first.ticket_id}),
        ("TicketService/TransferTicket", {"ticketId": first.ticket_id}),
    ):
        method = f"ticketing.tickets.v1.{refused}"
        assert "PermissionDenied" in refused_by_grpcurl(pair.address("TICKETS"), method, token, request)
    changes = call("ChangeService", "ListChanges", caller="opal")["changes"]
    assert [(one["kind"], one["roles"]) for one in changes] == [
        (f"CHANGE_KIND_{kind}", ["operator"])
        for kind in (
            *("CANCELLATION_REQUESTED", "EVENT_UPDATED", "REISSUE_REQUESTED"),
            *("PERSON_SEARCHED", "PERSON_SEARCHED"),
        )
    ]
    [annulment] = call("GateChangeService", "ListChanges", caller="opal")["changes"]
    assert (annulment["kind"], annulment["scan_id"]) == ("CHANGE_KIND_SCAN_ANNULLED", wrongly_admitted.scan_id)
    # Neither a full code nor a token was printed.
    assert re.search("TKT-[0-9A-F]{16}|T1[A-Z2-7]{40}", "".join(printed)) is None


@pytest.mark.parametrize("tool", [by_grpcurl, by_buf], ids=["grpcurl", "buf curl"])
def test_the_main_path_works_from_the_command_line(pair: ServicePair, tool: Callable[..., str]) -> None:
    def tickets(method: str, role: str, subject: str, **message: Any) -> dict[str, Any]:
        token = pair.issuer.token(role, subject)
        return documents(tool(pair.address("TICKETS"), f"ticketing.tickets.v1.{method}", token, [message]))[0]

    def scans(method: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        token = pair.issuer.token("scanner", "door")
        return documents(tool(pair.address("SCANS"), f"ticketing.scans.v1.ScanService/{method}", token, list(messages)))

    now = datetime.now(UTC)
    event = tickets(
        "EventService/CreateEvent",
        "organizer",
        "alice",
        requestId=str(uuid.uuid4()),
        event={
            "name": "By hand",
            "eventType": "EVENT_TYPE_WORKSHOP",
            "startTime": (now - timedelta(hours=1)).isoformat(),
            "endTime": (now + timedelta(hours=1)).isoformat(),
            "ticketPrice": {"currencyCode": "EUR"},
        },
    )["event"]
    event_id = event["event_id"]
    assert tickets("EventService/PublishEvent", "organizer", "alice", eventId=event_id)["event"]["status"] == (
        "EVENT_STATUS_PUBLISHED"
    )
    assert tickets("EventService/GetEvent", "user", "bob", eventId=event_id)["event"]["name"] == "By hand"
    assert [listed["event_id"] for listed in tickets("EventService/ListEvents", "user", "bob")["events"]] == [event_id]
    purchase = tickets(
        "PurchaseService/PurchaseTickets",
        "user",
        "bob",
        requestId=str(uuid.uuid4()),
        eventId=event_id,
        items=[{"ticketType": "TICKET_TYPE_STANDARD", "quantity": 2}],
    )["purchase"]
    purchase_id = purchase["purchase_id"]
    assert (
        len(tickets("PurchaseService/GetPurchase", "user", "bob", purchaseId=purchase_id)["purchase"]["tickets"]) == 2
    )
    assert len(tickets("PurchaseService/ListPurchases", "user", "bob")["purchases"]) == 1
    first, second = purchase["tickets"]
    assert tickets("TicketService/GetTicket", "user", "bob", code=first["code"])["ticket"]["token"] == first["token"]
    assert len(tickets("TicketService/ListTickets", "user", "bob")["tickets"]) == 2
    drawn = tickets("TicketService/RenderTicket", "user", "bob", ticketId=first["ticket_id"])
    assert drawn["media_type"] == "image/png"

    here = {"eventId": event_id, "location": "North 3"}
    new_gate(pair, event_id).close()
    (valid,) = scans("ValidateTicket", {"gate": here, "code": first["token"]})
    assert valid["scan"]["verdict"] == "VERDICT_ADMITTED"
    opened, admitted, denied = scans(
        "StreamScans",
        {"open": here},
        {"scan": {"scanId": str(uuid.uuid4()), "code": first["token"]}},
        {"scan": {"scanId": str(uuid.uuid4()), "code": first["token"]}},
    )
    assert opened["opened"]["event_name"] == "By hand"
    assert admitted["result"]["verdict"] == "VERDICT_ADMITTED"
    assert denied["result"]["denial_reason"] == "DENIAL_REASON_ALREADY_CHECKED_IN"

    cancelled = tickets("TicketService/CancelTicket", "user", "bob", ticketId=second["ticket_id"])["cancellation"]
    assert cancelled["status"] == "CANCELLATION_STATUS_DONE"
    asked = {"cancellationId": cancelled["cancellation_id"]}
    assert tickets("TicketService/GetCancellation", "user", "bob", **asked)["cancellation"] == cancelled
    (scanned,) = scans("ScanTicket", {"gate": here, "attempt": {"scanId": str(uuid.uuid4()), "code": second["code"]}})
    assert scanned["scan"]["denial_reason"] == "DENIAL_REASON_CANCELLED"
    (listed,) = scans("ListScans", {"eventId": event_id})
    assert len(listed["scans"]) == 3


def documents(text: str) -> list[dict[str, Any]]:
    """Return the JSON documents that follow each other in `text`."""
    decoder, found = json.JSONDecoder(), []
    text = text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        found.append(in_snake_case(document))
        text = text[end:].strip()
    return found


def in_snake_case(value: Any) -> Any:
    """Convert field names to those of the contract: grpcurl prints camelCase, buf curl may differ."""
    if isinstance(value, dict):
        spell = re.compile("[A-Z]")
        return {spell.sub(lambda m: f"_{m.group().lower()}", key): in_snake_case(one) for key, one in value.items()}
    return [in_snake_case(one) for one in value] if isinstance(value, list) else value
