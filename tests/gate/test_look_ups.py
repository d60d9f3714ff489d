"""The call that looks tickets up: its answers, and what a person reads where there is none."""

import queue

import grpc
import pytest

from ticketing.admission.scans import Gate
from ticketing.chassis.tls import Tls
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.credential import Credential
from ticketing.gate.look_ups import LookUpResult, LookUps
from ticketing.gate.messages import gate_message
from ticketing.gate.offline_decision import LOOK_UPS_NEED_CONNECTION
from ticketing.scans.v1 import scan_service_pb2 as pb


def look_ups(address: str, event_id, *, is_reachable: bool = True) -> LookUps:
    gate = gate_message(Gate(event_id, "North"))
    client = ScanServiceClient(lambda: grpc.insecure_channel(address), Credential("secret"), gate)
    return LookUps(client, lambda: is_reachable)


@pytest.fixture
def found(server, stand_in) -> LookUps:
    return look_ups(server.address, stand_in.event_id)


def test_a_found_ticket_has_its_holder_and_its_pass(found, stand_in):
    admission = pb.TicketAdmission(ticket_id=bytes(16), issue=2)
    ticket = pb.FoundTicket(admission=admission, holder="Anna S…", look_up_pass="LOOKUP1")
    stand_in.found = pb.LookUpTicketsResponse(tickets=[ticket], more=True)
    result = found.ask("anna")
    [one] = result.tickets
    assert (one.holder, one.look_up_pass, one.ticket.issue, one.ticket.event_id) == (
        *("Anna S…", "LOOKUP1", 2, stand_in.event_id),
    )
    assert (result.more, result.problem) == (True, "")


def test_without_a_connection_the_problem_is_named(stand_in):
    assert look_ups("127.0.0.1:1", stand_in.event_id, is_reachable=False).ask("anna") == LookUpResult(
        problem=LOOK_UPS_NEED_CONNECTION
    )
    problem = look_ups("127.0.0.1:1", stand_in.event_id).ask("anna").problem
    assert problem == "not looked up: no connection to the service"


def test_a_refusal_is_shown_in_the_words_of_the_service(database, scan_service, issuer):
    """The ticket service is down, and the token is none."""
    event_id = database.event()
    token = issuer.token("scanner", "gate")
    client = ScanServiceClient(
        lambda: grpc.insecure_channel(scan_service), Credential(token), gate_message(Gate(event_id, "North"))
    )
    problem = LookUps(client, lambda: True).ask("anna").problem
    assert problem == "not looked up: the ticket service did not answer; try again"
    assert look_ups(scan_service, event_id).ask("anna").problem.startswith("not looked up: not authenticated")


def test_an_unreadable_certificate_is_shown(stand_in, tmp_path):
    """The thread of the look-up ended without an answer, and the person at the gate waited for ever."""
    gate = gate_message(Gate(stand_in.event_id, "North"))
    tls = Tls(server_ca=tmp_path / "none.pem")
    client = ScanServiceClient(lambda: tls.channel("127.0.0.1:1"), Credential("secret"), gate)
    shown: queue.Queue[LookUpResult] = queue.Queue()
    LookUps(client, lambda: True).start("anna", shown.put)
    assert shown.get(timeout=20).problem.startswith("not looked up: the certificates cannot be used: ")
