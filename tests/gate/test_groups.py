"""A group at the gate: a person types the number of people, and the next scan admits as many tickets or none."""

import sys
import uuid
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.environment.waiting import eventually
from tests.gate.lane import EVENT_ID, KEY, Lane, by_hand
from tests.processes.terminal import TerminalGate
from tests.scanning.gates import token_of
from tests.scanning.groups import GROUP, make_group
from ticketing.admission.scans import DenialReason
from ticketing.chassis.clock import system_clock
from ticketing.gate.answer_text import describe, json_record
from ticketing.gate.device import NO_GROUPS
from ticketing.gate.dialogue import GROUP_SECONDS, NO_GROUP, TOO_LARGE, group_notice
from ticketing.gate.messages import Answer, gate_message
from ticketing.gate.notices import Notice
from ticketing.gate.offline_decision import UNKNOWN_GROUP
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub


@pytest.fixture
def lane(tmp_path) -> Iterator[Lane]:
    with Lane(tmp_path) as lane:
        yield lane


def load_group(lane: Lane, size: int) -> list[str]:
    """Load a group into the replica; return the tokens of its tickets, ordered by their ids."""
    purchase_id = uuid.uuid4()
    ticket_ids = sorted(uuid.uuid4() for _ in range(size))
    changes = pb.WatchAdmissionsResponse(cursor="2")
    for ticket_id in ticket_ids:
        changes.tickets.add(ticket_id=ticket_id.bytes, ticket_type=GROUP, issue=1, purchase_id=purchase_id.bytes)
    lane.store.apply(EVENT_ID, changes, system_clock())
    return [token_of(KEY, EVENT_ID, ticket_id, kind=GROUP) for ticket_id in ticket_ids]


def type_count(lane: Lane, text: str) -> list[object]:
    before = len(lane.view.shown)
    lane.handle(by_hand(text))
    return list(lane.view.shown[before:])


def test_a_typed_count_makes_the_next_scan_that_of_a_group(lane):
    tokens = load_group(lane, 8)
    assert type_count(lane, "+5") == [group_notice(5)]
    answer = lane.scan(tokens[6])
    assert (answer.may_pass, describe(answer), answer.people) == (True, "GROUP 5 of 8, 3 left", 5)
    assert json_record(answer)["group"] == {"count": 5, "admitted": 5, "left": 3, "inside": 5, "size": 8}
    # The count holds for one scan.
    assert describe(lane.scan(tokens[7])) == "GROUP"
    [group, single] = lane.queued()
    assert (group.group_count, len(group.offline.group_ticket_ids), single.group_count) == (5, 4, 0)
    assert [lane.scan(token).reason for token in tokens[:4]] == [DenialReason.ALREADY_CHECKED_IN] * 4


def test_too_large_a_count_says_how_many_are_left(lane):
    tokens = load_group(lane, 4)
    lane.scan(tokens[0])
    type_count(lane, "+4")
    denied = lane.scan(tokens[1])
    assert describe(denied) == "GROUP TOO SMALL, 3 of 4 left: type +3 and Enter, and scan again"
    type_count(lane, "+3")
    # The same ticket within a moment is another scan, because a count was typed.
    assert describe(lane.scan(tokens[1], later=0.5)) == "GROUP 3 of 4, 0 left"
    type_count(lane, "+1")
    used = lane.scan(tokens[0])
    assert describe(used).startswith("ALREADY CHECKED IN")
    assert describe(used).endswith("0 of 4 left")


def test_a_scanner_that_reads_the_ticket_twice_admits_the_group_once(lane):
    tokens = load_group(lane, 3)
    type_count(lane, "+2")
    assert lane.scan(tokens[0]).may_pass
    again = lane.scan(tokens[0], later=0.3)
    assert (again.repeated, describe(again), len(lane.queued())) == (True, "GROUP 2 of 3, 1 left", 1)


def test_a_count_ends_after_some_seconds_or_with_a_plus(lane):
    tokens = load_group(lane, 3)
    type_count(lane, "+2")
    assert describe(lane.scan(tokens[0], later=GROUP_SECONDS)) == "GROUP"
    type_count(lane, "+2")
    assert type_count(lane, "+") == [NO_GROUP]
    assert describe(lane.scan(tokens[1])) == "GROUP"


def test_a_count_outlives_a_read_that_is_no_ticket(lane):
    tokens = load_group(lane, 3)
    type_count(lane, "+2")
    assert not lane.scan("4006381333931").may_pass
    assert describe(lane.scan(tokens[0])) == "GROUP 2 of 3, 1 left"


def test_a_number_without_the_sign_is_no_count(lane):
    """It may be a mistyped answer to another question."""
    [answer] = type_count(lane, "5")
    assert isinstance(answer, Answer)


def test_a_count_has_a_maximum(lane):
    assert type_count(lane, "+101") == [TOO_LARGE]
    assert type_count(lane, "+100") == [group_notice(100)]


def test_a_scanner_types_no_count(lane):
    """A guest may print a bar code of a number; nobody but the person at the gate says how many enter."""
    for text in ("5", "+5", "+12", "+ 100"):
        [shown] = lane.read(text)
        assert not isinstance(shown, Notice)
    tokens = load_group(lane, 2)
    assert describe(lane.scan(tokens[0])) == "GROUP"


def test_a_gate_without_a_keyboard_takes_no_count(tmp_path):
    with Lane(tmp_path, has_keyboard=False) as lane:
        [answer] = type_count(lane, "+5")
        assert not isinstance(answer, Notice)


def test_a_count_outlives_the_help_on_look_ups(lane):
    """The help on look-ups does not end the count."""
    assert type_count(lane, "+5") == [group_notice(5)]
    assert not isinstance(type_count(lane, "?")[0], Answer)
    tokens = load_group(lane, 8)
    assert describe(lane.scan(tokens[0])) == "GROUP 5 of 8, 3 left"


def test_other_types_are_no_group_at_the_gate(lane):
    token = lane.ticket()
    type_count(lane, "+2")
    answer = lane.scan(token)
    assert (answer.may_pass, describe(answer)) == (False, "NOT A GROUP")
    assert lane.scan(token).may_pass


def test_a_device_that_lacks_the_group_asks_for_each_ticket(lane):
    tokens = [token_of(KEY, EVENT_ID, uuid.uuid4(), kind=GROUP) for _ in range(2)]
    type_count(lane, "+2")
    answer = lane.scan(tokens[0])
    assert (answer.may_pass, answer.note) == (False, UNKNOWN_GROUP)
    assert [lane.scan(token).may_pass for token in tokens] == [True, True]


def test_undo_takes_the_whole_group_back(lane):
    tokens = load_group(lane, 3)
    code = lane.undo_code.create()
    lane.scan(tokens[2])
    type_count(lane, "+2")
    assert lane.scan(tokens[0]).may_pass
    [annulled] = lane.read(code)
    assert annulled.annulled
    type_count(lane, "+2")
    assert describe(lane.scan(tokens[0])) == "GROUP 2 of 3, 0 left"
    first, group, again = lane.queued()
    assert (group.group_count, group.offline.HasField("annul_time"), len(group.offline.group_ticket_ids)) == (
        2,
        True,
        1,
    )
    assert (first.group_count, again.group_count) == (0, 2)


def test_a_file_of_the_version_before_gets_the_groups(lane, tmp_path):
    lane.store._run("DROP TABLE kept")  # noqa: SLF001 - version 2 had neither kept scans nor groups
    lane.store._run("DROP INDEX replica_groups")  # noqa: SLF001 - as above
    lane.store._run("ALTER TABLE replica_tickets DROP COLUMN purchase_id")  # noqa: SLF001 - as above
    lane.store._run("PRAGMA user_version = 2")  # noqa: SLF001 - as above
    lane.store.close()
    with Lane(tmp_path) as upgraded:
        tokens = load_group(upgraded, 2)
        type_count(upgraded, "2")
        assert upgraded.scan(tokens[0]).may_pass


def test_a_service_that_ignores_the_count_admits_one_person(handheld, stand_in):
    token = stand_in.ticket()
    answer = handheld.device.scan(token, handheld.shown.append, 5)
    assert (answer.may_pass, answer.note, answer.people) == (True, NO_GROUPS, 1)


@pytest.mark.slow
def test_two_offline_gates_that_admit_the_same_group_are_incidents(database, wifi, office, new_handheld):
    event_id = database.event()
    group = make_group(database, event_id, 6)
    north = new_handheld(wifi.address, event_id, "north").connect().follow()
    south = new_handheld(wifi.address, event_id, "south").connect().follow()
    eventually(lambda: all(device.store.ticket_count(event_id) == 6 for device in (north, south)))
    first = north.device.scan(group.tickets[0].token, north.shown.append, 2)
    assert (first.offline, describe(first)) == (False, "GROUP 2 of 6, 4 left")
    # The replica of the other gate has the admissions of both tickets.
    eventually(lambda: south.store.ticket(event_id, group.tickets[1].ticket_id).admission.inside)

    wifi.pull()
    shown = [
        north.device.scan(group.tickets[2].token, north.shown.append, 3),
        south.device.scan(group.tickets[5].token, south.shown.append, 2),
        south.device.scan(group.tickets[3].token, south.shown.append, 4),
    ]
    assert [(answer.offline, describe(answer)) for answer in shown] == [
        (True, "GROUP 3 of 6, 1 left"),
        (True, "GROUP 2 of 6, 2 left"),
        (True, "GROUP TOO SMALL, 2 of 6 left: type +2 and Enter, and scan again"),
    ]
    wifi.plug_in()
    eventually(lambda: all(device.store.queue_length() == 0 for device in (north, south)))
    doubly = str(group.tickets[2].ticket_id)
    assert office.incidents(event_id) == [(scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, doubly, 2)]
    admitted = [scan.ticket_id for scan in office.scans(event_id) if scan.verdict == scan_pb2.VERDICT_ADMITTED]
    assert len(admitted) == 2 + 3 + 2
    # Online again, the service knows all of them.
    eventually(lambda: north.state == south.state == "ONLINE")
    last = south.device.scan(group.tickets[0].token, south.shown.append, 1)
    assert (last.reason, last.group and last.group.left) == (DenialReason.ALREADY_CHECKED_IN, 0)


@pytest.mark.slow
@pytest.mark.parametrize("is_replicated", [True, False])
def test_a_group_whose_answer_was_lost_is_admitted_once(  # noqa: PLR0913, PLR0917 - fixtures
    database, wifi, office, new_handheld, issuer, is_replicated
):
    event_id = database.event()
    group = make_group(database, event_id, 4)
    token = group.tickets[3].token
    device = new_handheld(wifi.address, event_id)
    device.follow()
    eventually(lambda: device.store.ticket_count(event_id) == 4)
    if not is_replicated:
        device.replica.stop()
    # The device sent the request, and the service recorded it; the answer did not arrive.
    attempt = pb.ScanAttempt(code=token, scan_type=scan_pb2.SCAN_TYPE_CHECK_IN, group_count=3)
    question = pb.ScanTicketRequest(gate=gate_message(device.gate), attempt=attempt)
    scan_id = uuid.uuid4()
    device.store.begin_scan(scan_id, sha256(question.SerializeToString()).digest(), system_clock())
    question.attempt.scan_id = str(scan_id)
    with device.client.open_channel() as channel:
        metadata = issuer.metadata("scanner", "one")
        recorded = ScanServiceStub(channel).ScanTicket(question, metadata=metadata, timeout=10).scan
    if is_replicated:
        eventually(lambda: device.store.ticket(event_id, group.tickets[1].ticket_id).admission.inside)
    wifi.pull()
    device.connect()
    again = device.device.scan(token, device.shown.append, 3)
    assert (again.scan_id, again.offline, describe(again)) == (str(scan_id), True, "GROUP 3 of 4, 1 left")
    wifi.plug_in()
    eventually(lambda: device.store.queue_length() == 0)
    assert office.incidents(event_id) == []
    admitted = [scan for scan in office.scans(event_id) if scan.verdict == scan_pb2.VERDICT_ADMITTED]
    assert sorted(scan.ticket_id for scan in admitted) == sorted(recorded.group.ticket_ids)


@pytest.mark.slow
def test_a_group_undone_at_the_gate_is_annulled_by_the_service(database, wifi, office, new_handheld):
    event_id = database.event()
    group = make_group(database, event_id, 3)
    device = new_handheld(wifi.address, event_id).connect().follow()
    eventually(lambda: device.store.ticket_count(event_id) == 3)
    assert device.device.scan(group.tickets[0].token, device.shown.append, 3).may_pass
    assert device.device.annul_last().annulled
    assert all(scan.HasField("annul_time") for scan in office.scans(event_id))
    wifi.pull()
    assert device.device.scan(group.tickets[1].token, device.shown.append, 3).may_pass


@pytest.fixture
def command(scan_service, issuer, tmp_path) -> list[str]:
    (tmp_path / "token").write_text(issuer.metadata("scanner", "sam")[0][1].removeprefix("Bearer "))
    command = [sys.executable, "-m", "ticketing.gate", "run", "--server", scan_service, "--location", "North 3"]
    return [*command, "--token-file", str(tmp_path / "token"), "--data", str(tmp_path)]


@pytest.mark.slow
def test_a_person_types_a_count_and_the_scanner_does_not(database, command):
    event_id = database.event()
    group = make_group(database, event_id, 8)
    with TerminalGate([*command, "--event", str(event_id)]) as gate:
        # A bar code of a number is no count, whatever ends it.
        for code in (b"5\r", b"+5\r", b"+5\t", b"+12\r", b"]Q1+5\r"):
            assert gate.scan(code)["denial_reason"] == "TICKET_NOT_FOUND"
        gate.type(b"+", b"5", b"\r", pause=0.3)
        assert gate.answer()["notice"] == "GROUP 5 people: scan one of their tickets within 20 s, or type + and Enter"
        answer = gate.scan(b"]Q1" + group.tickets[6].token.encode() + b"\r\n")
        assert (answer["open"], answer["offline"]) == (True, False)
        assert answer["group"] == {"count": 5, "admitted": 5, "left": 3, "inside": 5, "size": 8}
        gate.type(b"+", b"1", b"\x7f", b"4", b"\r", pause=0.3)
        assert gate.answer()["notice"].startswith("GROUP 4 people")
        denied = gate.scan(group.tickets[7].token.encode() + b"\r")
        assert (denied["open"], denied["denial_reason"], denied["group"]["left"]) == (False, "GROUP_TOO_SMALL", 3)
    assert len([row for row in database.rows("scans") if row["verdict"] == "ADMITTED"]) == 5


@pytest.mark.slow
def test_the_screen_shows_the_group(database, command):
    event_id = database.event()
    group = make_group(database, event_id, 8)
    with TerminalGate([*command, "--event", str(event_id)], screen=True) as gate:
        eventually(lambda: b"ONLINE" in gate.seen())
        gate.type(b"+", b"5", b"\r", pause=0.3)
        eventually(lambda: b"5 people: scan one of their tickets" in gate.seen())
        gate.type(group.tickets[0].token.encode() + b"\r")
        eventually(lambda: b"GROUP 5 of 8, 3 left" in gate.seen())
        eventually(lambda: b"5 admitted" in gate.seen())
