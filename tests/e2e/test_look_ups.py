"""A person without a phone, from the purchase to the gate: both services and the gate's program on a terminal."""

import re
import signal
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from sqlalchemy.engine import make_url

from dev.clients import ApiClient
from tests.e2e.service_pair import ServicePair, new_gate, on_sale, purchase_request
from tests.environment.access import Issuer
from tests.environment.databases import read_value
from tests.environment.waiting import eventually
from tests.processes.terminal import TerminalGate
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2, purchase_pb2

pytestmark = pytest.mark.slow

ADMITTED, DENIED = scan_pb2.VERDICT_ADMITTED, scan_pb2.VERDICT_DENIED


def bought(pair: ServicePair, event: event_pb2.Event, quantity: int = 1) -> purchase_pb2.Purchase:
    shop = pair.caller("service", "shop")
    request = purchase_request(event, quantity)
    request.metadata.update({"holder_name": "Anna Schmidt"})
    request.email = "anna@example.com"
    return shop.ask(shop.purchases.PurchaseTickets, request).purchase


def request(event_id: str, query: str = "schmidt") -> pb.LookUpTicketsRequest:
    return pb.LookUpTicketsRequest(gate=scan_pb2.Gate(event_id=event_id, location="North 3"), query=query)


def found(pair: ServicePair, scanner: ApiClient, event_id: str, count: int) -> list[pb.FoundTicket]:
    """Look up once the scan service has the tickets in its replica."""
    query = f"SELECT count(*) FROM tickets WHERE event_id = '{uuid.UUID(event_id)}'"
    eventually(lambda: read_value(make_url(pair.variables["SCANS_DATABASE_URL"]), query), count)
    return list(scanner.ask(scanner.scans.LookUpTickets, request(event_id)).tickets)


def type_by_hand(gate: TerminalGate, text: str) -> None:
    gate.type(*(bytes([byte]) for byte in f"{text}\r".encode()), pause=0.15)


def test_a_person_without_a_phone_is_admitted_at_the_keyboard(
    pair: ServicePair, issuer: Issuer, tmp_path: Path
) -> None:
    event = on_sale(pair.caller("organizer", "alice"), allow_gate_look_up=True)
    purchase = bought(pair, event)
    with closing(new_gate(pair, event.event_id)):
        (tmp_path / "token").write_text(issuer.token("scanner", "door"))
        found(pair, pair.caller("scanner", "door"), event.event_id, 1)
    command = [sys.executable, "-m", "ticketing.gate", "run", "--server", pair.address("SCANS"), "--location", "North"]
    command += ["--event", event.event_id, "--token-file", str(tmp_path / "token"), "--data", str(tmp_path)]
    with TerminalGate(command) as gate:
        type_by_hand(gate, "?schmidt")
        assert gate.answer()["notice"] == "looking up; a scan goes on: schmidt"
        assert gate.answer()["notice"].startswith("1  STANDARD  Anna S…, an…@example.com  not checked in")
        type_by_hand(gate, "1")
        number = re.search(r"type (\d+) and Enter", gate.answer()["notice"])
        assert number is not None
        type_by_hand(gate, number[1])
        answer = gate.answer()
        assert (answer["open"], answer["offline"]) == (True, False)
        again = gate.scan(purchase.tickets[0].token.encode() + b"\r")
        assert (again["open"], again["denial_reason"]) == (False, "ALREADY_CHECKED_IN")


def test_without_the_ticket_service_a_look_up_fails_and_scans_go_on(pair: ServicePair) -> None:
    event = on_sale(pair.caller("organizer", "alice"), allow_gate_look_up=True)
    first, second = bought(pair, event, 2).tickets
    scanner = pair.caller("scanner", "door")
    with closing(new_gate(pair, event.event_id)) as gate:
        passes = {uuid.UUID(bytes=one.admission.ticket_id): one for one in found(pair, scanner, event.event_id, 2)}
        pair.stop("ticket_service", signal.SIGKILL)
        with pytest.raises(grpc.RpcError) as refused:
            scanner.ask(scanner.scans.LookUpTickets, request(event.event_id))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert gate.scan(first.token).verdict == ADMITTED
        # A ticket that was looked up before is still admitted.
        assert gate.scan(passes[uuid.UUID(second.ticket_id)].look_up_pass).verdict == ADMITTED


def test_a_pass_and_a_qr_code_at_the_same_time_admit_once(pair: ServicePair) -> None:
    event = on_sale(pair.caller("organizer", "alice"), allow_gate_look_up=True)
    tokens = {ticket.ticket_id: ticket.token for ticket in bought(pair, event, 10).tickets}
    scanner = pair.caller("scanner", "door")
    with closing(new_gate(pair, event.event_id)):
        tickets = found(pair, scanner, event.event_id, 10)

    def scan(text: str) -> scan_pb2.Scan:
        attempt = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=text)
        ask = pb.ScanTicketRequest(gate=scan_pb2.Gate(event_id=event.event_id, location="North"), attempt=attempt)
        return scanner.ask(scanner.scans.ScanTicket, ask).scan

    with ThreadPoolExecutor(20) as gates:
        texts = [
            text
            for one in tickets
            for text in (one.look_up_pass, tokens[str(uuid.UUID(bytes=one.admission.ticket_id))])
        ]
        scans = list(gates.map(scan, texts))
    for by_pass, by_token in zip(scans[::2], scans[1::2], strict=True):
        assert by_pass.ticket_id == by_token.ticket_id
        assert sorted([by_pass.verdict, by_token.verdict]) == [ADMITTED, DENIED]
        assert (by_pass.looked_up, by_token.looked_up) == (True, False)
