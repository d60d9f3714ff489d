"""The name of the holder: requested after the verdict, for the latest scan, and never waited for."""

import io
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import grpc
import pytest

from tests.environment.waiting import eventually
from tests.gate.lane import Lane
from tests.gate.test_screen import DENIED, READY, an_answer
from tests.stand_ins.scans import ScanServiceStandIn
from ticketing.admission.scans import DenialReason, Gate
from ticketing.gate.answer_text import LinePrinter
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.credential import Credential
from ticketing.gate.holder_names import MAX_AGE_SECONDS, NOT_ALLOWED_SECONDS, HolderNames
from ticketing.gate.messages import Answer, gate_message
from ticketing.scans.v1 import scan_service_pb2 as pb

OTHER_ID = str(uuid.UUID(int=9))


class Names:
    """The names of one gate; its clock of monotonic seconds is `time`."""

    def __init__(self, address: str, event_id: uuid.UUID) -> None:
        self.time = 0.0
        self.is_reachable = True
        self.shown: list[tuple[str, str]] = []
        gate = gate_message(Gate(event_id, "North"))
        client = ScanServiceClient(lambda: grpc.insecure_channel(address), Credential("secret"), gate)
        self.names = HolderNames(client, lambda: self.is_reachable, self._show, lambda: self.time)

    def _show(self, scan_id: str, name: str) -> None:
        self.shown.append((scan_id, name))

    def scan(self, answer: Answer | None = None) -> str:
        """Request the name for an answer; return its scan_id."""
        scan_id = str(uuid.uuid4())
        self.names.request(replace(answer or an_answer(), scan_id=scan_id))
        return scan_id

    def is_idle(self) -> bool:
        """Return whether no request waits."""
        return self.names._wanted is None  # noqa: SLF001 - there is nothing to see where no name is asked for


@pytest.fixture
def gate(server, stand_in) -> Iterator[Names]:
    stand_in.holder = pb.GetHolderResponse(allowed=True, name="Anna Schmidt")
    made = Names(server.address, stand_in.event_id)
    made.names.start()
    yield made
    stand_in.may_find.set()
    made.names.stop()


def denied_by(reason: DenialReason) -> Answer:
    return an_answer(admitted=False, reason=reason)


def test_admitted_and_denied_tickets_get_a_name(gate, stand_in):
    first = gate.scan()
    eventually(lambda: gate.shown, [(first, "Anna Schmidt")])
    second = gate.scan(denied_by(DenialReason.ALREADY_CHECKED_IN))
    eventually(lambda: gate.shown[1:], [(second, "Anna Schmidt")])


@pytest.mark.parametrize(
    "answer",
    [
        an_answer(offline=True),
        denied_by(DenialReason.TICKET_NOT_FOUND),
        denied_by(DenialReason.INVALID_SIGNATURE),
        denied_by(DenialReason.WRONG_EVENT),
    ],
)
def test_an_answer_without_a_ticket_of_the_service_gets_no_name(gate, stand_in, answer):
    gate.scan(answer)
    last = gate.scan()
    eventually(lambda: gate.shown, [(last, "Anna Schmidt")])
    assert stand_in.named == [last]


def test_only_the_latest_of_several_scans_gets_a_name(gate, stand_in):
    stand_in.may_find.clear()
    first = gate.scan()
    eventually(lambda: stand_in.named, [first])
    # Requests take no time while the service does not answer.
    _, last = gate.scan(), gate.scan()
    stand_in.may_find.set()
    eventually(lambda: stand_in.named, [first, last])


@pytest.mark.parametrize("answered", ["not allowed", "unknown rpc"])
def test_an_event_that_allows_no_names_is_left_alone(gate, stand_in: ScanServiceStandIn, answered):
    if answered == "not allowed":
        stand_in.holder = pb.GetHolderResponse(allowed=False)
    else:
        stand_in.holder_error = grpc.StatusCode.UNIMPLEMENTED
    first = gate.scan()
    eventually(lambda: gate.names._pause_end > 0)  # noqa: SLF001 - as above
    gate.scan()
    eventually(gate.is_idle)
    stand_in.holder, stand_in.holder_error = pb.GetHolderResponse(allowed=True, name="Bob"), None
    gate.time += NOT_ALLOWED_SECONDS
    last = gate.scan()
    eventually(lambda: gate.shown, [(last, "Bob")])
    assert stand_in.named == [first, last]


def test_after_a_failure_the_next_scan_gets_a_name(gate, stand_in):
    stand_in.holder_error = grpc.StatusCode.UNAVAILABLE
    first = gate.scan()
    eventually(lambda: stand_in.named, [first])
    stand_in.holder_error = None
    last = gate.scan()
    eventually(lambda: gate.shown, [(last, "Anna Schmidt")])


def test_no_name_is_requested_late_or_without_a_connection(server, stand_in):
    gate = Names(server.address, stand_in.event_id)
    gate.scan()
    gate.time += MAX_AGE_SECONDS + 1
    gate.names.start()
    eventually(gate.is_idle)
    gate.is_reachable = False
    gate.scan()
    eventually(gate.is_idle)
    gate.names.stop()
    assert (stand_in.named, gate.shown) == ([], [])


def test_every_answer_to_a_scan_is_followed_by_a_request(tmp_path):
    with Lane(tmp_path) as lane:
        shown = lane.scan(lane.ticket())
        assert lane.named == [shown]
        # A repeated answer is shown with its name.
        lane.read(lane.ticket())
        assert len(lane.named) == 2


def printed(*, as_json: bool, use: Callable[[LinePrinter], None]) -> list[str]:
    out = io.StringIO()
    use(LinePrinter(out, lambda: READY, as_json=as_json))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_name_is_a_line_of_its_own_unless_another_answer_came(as_json):
    def use(printer: LinePrinter) -> None:
        answer = an_answer()
        printer.show(answer)
        printer.show_holder(OTHER_ID, "Bob")
        printer.show_holder(answer.scan_id, "Anna Schmidt")
        printer.show(replace(DENIED, scan_id=OTHER_ID))
        printer.show_holder(answer.scan_id, "Anna Schmidt")

    _, line, _ = printed(as_json=as_json, use=use)
    if as_json:
        record = json.loads(line)
        del record["device"]
        scan_id = an_answer().scan_id
        name = {"holder": "Anna Schmidt", "scan_id": scan_id}
        assert record == {"open": False, "notice": "holder: Anna Schmidt", **name}
    else:
        assert line == "holder: Anna Schmidt"
