"""Decisions without a connection, and their delivery afterwards."""

import threading
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tests.environment.waiting import eventually
from tests.scanning.gates import ticket_id_in
from ticketing.admission.scans import DenialReason, ScanType
from ticketing.chassis.clock import system_clock
from ticketing.gate.connection_status import REFUSED_NOTE
from ticketing.gate.device import NOTHING_TO_UNDO
from ticketing.gate.messages import time_of
from ticketing.gate.offline_decision import NEEDS_CONNECTION, NO_REPLICA
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

pytestmark = pytest.mark.slow

OVERLOADED = error_reason_pb2.ERROR_REASON_OVERLOADED
SOON = Duration(nanos=1_000_000)


@pytest.fixture
def copied(handheld, stand_in):
    """Return a device with a complete replica, and three tickets; the replica lacks the third."""
    tokens = [stand_in.ticket(), stand_in.ticket()]
    handheld.follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 2)
    return handheld, [*tokens, stand_in.ticket(copied=False)]


def test_offline_device_admits_each_ticket_once_and_uploads_later(copied, server, stand_in):
    handheld, tokens = copied
    server.stop()
    answers = [handheld.scan(token) for token in [*tokens, *tokens]]
    assert [answer.may_pass for answer in answers] == [True] * 3 + [False] * 3
    assert {answer.reason for answer in answers[3:]} == {DenialReason.ALREADY_CHECKED_IN}
    assert all(answer.offline for answer in answers)
    assert handheld.store.queue_length() == 6
    server.start()
    eventually(lambda: handheld.store.queue_length() == 0)
    assert [stand_in.records[answer.scan_id].verdict for answer in answers] == [1, 1, 1, 2, 2, 2]
    assert [scan.scan_id for upload in stand_in.uploads for scan in upload.scans] == [a.scan_id for a in answers]


def test_ticket_admitted_online_is_denied_offline(copied, server, stand_in):
    handheld, tokens = copied
    # The replica never receives the admission; the device has its own record.
    stand_in.lose.add("admissions")
    assert not handheld.scan(tokens[0]).offline
    server.stop()
    assert handheld.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN


def test_ticket_admitted_at_another_gate_is_denied_offline(copied, server, stand_in, new_handheld):
    handheld, tokens = copied
    new_handheld(server.address, stand_in.event_id, "two").connect().scan(tokens[0])
    (scan,) = stand_in.records.values()
    ticket = (stand_in.event_id, UUID(scan.ticket_id))
    eventually(lambda: handheld.store.ticket(*ticket).admission.inside)
    server.stop()
    answer = handheld.scan(tokens[0])
    assert (answer.reason, answer.previous.location) == (DenialReason.ALREADY_CHECKED_IN, "two")


@pytest.mark.parametrize(
    ("denial", "reason"),
    [
        (scan_pb2.DENIAL_REASON_REFUNDED, DenialReason.REFUNDED),
        (scan_pb2.DENIAL_REASON_CANCELLED, DenialReason.CANCELLED),
        (scan_pb2.DENIAL_REASON_BLOCKED, DenialReason.BLOCKED),
        # The device has no status for this reason, and denies.
        (scan_pb2.DENIAL_REASON_EXPIRED, DenialReason.UNKNOWN),
    ],
)
def test_denial_of_the_replica_is_applied_offline(handheld, server, stand_in, denial, reason):
    token = stand_in.ticket(denial_reason=denial)
    handheld.follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 1)
    server.stop()
    assert handheld.scan(token).reason is reason


def test_offline_typed_codes_forgeries_and_other_texts_are_denied(copied, server):
    handheld, tokens = copied
    server.stop()
    typed, garbage, forged = map(handheld.scan, ("TKT-0123456789ABCDEF", "4006381333931", tokens[0][:-9] + "AAAAAAAAA"))
    assert (typed.reason, typed.note) == (DenialReason.TICKET_NOT_FOUND, NEEDS_CONNECTION)
    assert (garbage.reason, garbage.note) == (DenialReason.TICKET_NOT_FOUND, "")
    assert forged.reason is DenialReason.INVALID_SIGNATURE
    assert handheld.store.queue_length() == 3


def test_device_without_a_replica_admits_nobody(stand_in, server, new_handheld):
    server.stop()
    handheld = new_handheld(server.address, stand_in.event_id).connect()
    answer = handheld.scan(stand_in.ticket())
    assert (answer.may_pass, answer.reason, answer.note) == (False, DenialReason.EVENT_NOT_OPEN, NO_REPLICA)


def test_unanswered_scan_is_decided_offline_under_its_id(copied, stand_in):
    handheld, tokens = copied
    stand_in.lose.add("result")
    answer = handheld.scan(tokens[0])
    assert (answer.may_pass, answer.offline) == (True, True)
    assert stand_in.asked == [answer.scan_id]
    eventually(lambda: handheld.store.queue_length() == 0)
    assert [scan.scan_id for scan in stand_in.uploads[0].scans] == [answer.scan_id]
    assert set(stand_in.records) == {answer.scan_id}


def test_after_an_unanswered_scan_the_next_ones_do_not_wait(copied, stand_in):
    handheld, tokens = copied
    stand_in.lose |= {"result", "uploaded"}
    handheld.scan(tokens[0])
    assert handheld.state == "OFFLINE"
    handheld.scan(tokens[1])
    assert len(stand_in.asked) == 1
    stand_in.lose.clear()
    stand_in.end_streams()
    eventually(lambda: handheld.state == "ONLINE")
    assert not handheld.scan(tokens[2]).offline


def test_scan_rejected_by_a_busy_service_is_decided_offline(copied, stand_in):
    handheld, tokens = copied
    stand_in.rejecting["scan"] = OVERLOADED
    assert handheld.scan(tokens[0]).offline
    assert handheld.state == "ONLINE"


def test_scan_rejected_with_a_retry_time_is_requested_again(server, stand_in, new_handheld):
    handheld = new_handheld(server.address, stand_in.event_id, answer_seconds=20).connect()
    stand_in.rejecting["scan"], stand_in.retry_after = OVERLOADED, SOON

    def unlock() -> None:
        eventually(lambda: len(stand_in.asked) >= 3)
        stand_in.rejecting.clear()

    unlocking = threading.Thread(target=unlock)
    unlocking.start()
    answer = handheld.scan(stand_in.ticket())
    unlocking.join()
    assert (answer.admitted, answer.offline) == (True, False)
    assert set(stand_in.asked) == set(stand_in.records) == {answer.scan_id}


def test_locked_ticket_is_decided_offline_in_time_and_uploaded_later(server, stand_in, new_handheld, monkeypatch):
    monkeypatch.setattr("ticketing.gate.delivery.UPLOAD_PAUSE_SECONDS", 0.05)
    token = stand_in.ticket()
    # A rejection of a busy machine took longer than the 0.3 s of the other tests.
    handheld = new_handheld(server.address, stand_in.event_id, answer_seconds=2).connect().follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 1)
    stand_in.rejecting |= {"scan": OVERLOADED, token: OVERLOADED}
    stand_in.retry_after = SOON
    answer = handheld.scan(token)
    assert (answer.admitted, answer.offline, handheld.state) == (True, True, "ONLINE")
    eventually(lambda: len(stand_in.uploads) > 1)
    assert handheld.store.queue_length() == 1
    stand_in.rejecting.clear()
    eventually(lambda: handheld.store.queue_length() == 0)
    assert stand_in.records[answer.scan_id].verdict == scan_pb2.VERDICT_ADMITTED


def test_typed_code_of_a_locked_ticket_asks_for_another_scan(copied, stand_in):
    handheld, _ = copied
    stand_in.rejecting["scan"] = OVERLOADED
    answer = handheld.scan("TKT-0123456789ABCDEF")
    assert (answer.may_pass, answer.reason, answer.note) == (False, None, "NOT CHECKED, scan again: too much")
    assert handheld.store.queue_length() == 0
    stand_in.rejecting.clear()
    assert not handheld.scan("TKT-0123456789ABCDEF").offline
    # Both requests had the same id: a scan that was recorded after all would have got its first answer.
    assert len(set(stand_in.asked)) == 1


def test_request_is_repeated_on_the_next_stream_under_its_id(server, stand_in, new_handheld):
    handheld = new_handheld(server.address, stand_in.event_id, answer_seconds=20).connect()
    stand_in.lose.add("result")
    token = stand_in.ticket()
    eventually(lambda: handheld.state == "ONLINE")
    # A stream that was open for more than a second is followed by the next one at once.
    handheld.connection._stream.start -= 5  # noqa: SLF001 - instead of waiting

    def cut() -> None:
        eventually(lambda: stand_in.asked)
        stand_in.lose.clear()
        stand_in.end_streams(grpc.StatusCode.UNAVAILABLE)

    cutter = threading.Thread(target=cut)
    cutter.start()
    answer = handheld.scan(token)
    cutter.join()
    assert (answer.may_pass, answer.offline) == (True, False)
    assert stand_in.asked == [answer.scan_id] * 2


def test_ticket_admitted_offline_is_denied_online_before_delivery(copied, server, stand_in):
    handheld, tokens = copied
    server.stop()
    assert handheld.scan(tokens[0]).may_pass
    # Without credits the device cannot upload, so the service lacks the check-in.
    stand_in.credits = 0
    server.start()
    eventually(lambda: handheld.state == "ONLINE")
    assert handheld.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN
    assert not handheld.scan(tokens[1]).offline


def test_wrong_clock_is_corrected_in_decisions_and_uploads(server, stand_in, new_handheld):
    ten_minutes = timedelta(minutes=10)
    stand_in.rules.valid_from_time.FromDatetime(system_clock() - timedelta(minutes=5))
    token = stand_in.ticket()
    slow = new_handheld(server.address, stand_in.event_id, clock=lambda: system_clock() - ten_minutes)
    slow.connect().follow()
    eventually(lambda: slow.store.ticket_count(stand_in.event_id) == 1)
    server.stop()
    # The device's own clock shows a time before the doors open.
    answer = slow.scan(token)
    assert answer.may_pass
    server.start()
    eventually(lambda: slow.store.queue_length() == 0)
    recorded = stand_in.records[answer.scan_id]
    assert abs(time_of(recorded.scan_time) - system_clock()) < timedelta(minutes=1)
    assert (time_of(recorded.scan_time), recorded.doubtful_time) == (answer.time, False)


def test_revoked_device_admits_nobody_and_records_nothing(copied, server, stand_in, new_handheld):
    handheld, tokens = copied
    stand_in.refusal = grpc.StatusCode.UNAUTHENTICATED
    stand_in.end_streams(grpc.StatusCode.UNAUTHENTICATED)
    eventually(lambda: handheld.state == "REFUSED")
    answer = handheld.scan(tokens[0])
    assert (answer.may_pass, answer.reason, answer.note) == (False, None, REFUSED_NOTE)
    assert handheld.store.queue_length() == 0
    handheld.close()
    # The refusal survives a restart without a network.
    server.stop()
    again = new_handheld(server.address, stand_in.event_id).connect()
    assert again.state == "REFUSED"
    assert not again.scan(tokens[0]).may_pass
    # The refusal ends once the service accepts the credential.
    stand_in.refusal = None
    server.start()
    eventually(lambda: again.state == "ONLINE")
    assert again.scan(tokens[0]).may_pass


def test_uploads_stay_within_the_credits(copied, server, stand_in):
    handheld, tokens = copied
    stand_in.credits = 4
    server.stop()
    for _ in range(10):
        handheld.scan(tokens[0])
    server.start()
    eventually(lambda: handheld.store.queue_length() == 0)
    assert [len(upload.scans) for upload in stand_in.uploads] == [4, 4, 2]


def test_rejected_upload_stays_queued_and_blocks_no_other(copied, server, stand_in):
    handheld, tokens = copied
    server.stop()
    poison = handheld.scan("poison").code
    handheld.scan(tokens[0])
    stand_in.rejecting[poison] = error_reason_pb2.ERROR_REASON_SCAN_ID_REUSED
    server.start()
    eventually(lambda: handheld.store.queue_length() == 1)
    assert handheld.store.queued(9, 9_999)[0].code == poison


def test_upload_rejected_as_a_whole_is_sent_again(copied, server, stand_in, monkeypatch):
    monkeypatch.setattr("ticketing.gate.delivery.UPLOAD_PAUSE_SECONDS", 0.05)
    handheld, tokens = copied
    server.stop()
    handheld.scan(tokens[0])
    busy = handheld.scan("busy").code
    stand_in.rejecting |= {"upload": OVERLOADED, busy: OVERLOADED}
    server.start()
    eventually(lambda: len(stand_in.uploads) > 1)
    del stand_in.rejecting["upload"]
    eventually(lambda: handheld.store.queue_length() == 1)
    stand_in.rejecting.clear()
    eventually(lambda: handheld.store.queue_length() == 0)


def test_scans_of_a_locked_ticket_do_not_delay_the_other_uploads(copied, server, stand_in):
    handheld, tokens = copied
    stand_in.credits = 2
    server.stop()
    locked, *others = [handheld.scan(token) for token in tokens]
    stand_in.rejecting[tokens[0]] = OVERLOADED
    server.start()
    # The pause before the next try would be 5 s.
    eventually(lambda: {scan.scan_id for scan in others} == set(stand_in.records), seconds=4)
    assert handheld.store.is_queued(locked.scan_id)


def test_reconnect_message_opens_another_stream(handheld, stand_in):
    handheld.connection._stream.start -= 5  # noqa: SLF001 - instead of waiting
    stand_in.end_streams(pb.StreamScansResponse(reconnect=pb.Reconnect()))
    eventually(lambda: stand_in.open_streams == 2)
    eventually(lambda: handheld.state == "ONLINE")


def test_stream_that_is_never_opened_counts_as_offline(stand_in, server, new_handheld, monkeypatch):
    monkeypatch.setattr("ticketing.gate.connection.OPEN_SECONDS", 0.1)
    stand_in.lose.add("opened")
    handheld = new_handheld(server.address, stand_in.event_id).connect()
    assert handheld.state == "OFFLINE"
    stand_in.lose.clear()
    eventually(lambda: handheld.state == "ONLINE")


def test_silent_stream_is_replaced(copied, stand_in, monkeypatch):
    monkeypatch.setattr("ticketing.gate.connection.SILENT_SECONDS", 0.1)
    handheld, tokens = copied
    # This stream carries no further response, not even for uploads.
    stand_in.lose |= {"result", "uploaded"}
    handheld.scan(tokens[0])
    eventually(lambda: stand_in.open_streams > 1)
    stand_in.lose.clear()
    eventually(lambda: handheld.state == "ONLINE")


def test_device_revoked_during_a_scan_admits_nobody(copied, stand_in):
    handheld, tokens = copied
    stand_in.lose.add("result")
    stand_in.refusal = grpc.StatusCode.UNAUTHENTICATED

    def revoke() -> None:
        eventually(lambda: stand_in.asked)
        stand_in.end_streams(grpc.StatusCode.UNAUTHENTICATED)

    revoking = threading.Thread(target=revoke)
    revoking.start()
    answer = handheld.scan(tokens[0])
    revoking.join()
    assert (answer.may_pass, answer.note) == (False, REFUSED_NOTE)
    assert handheld.store.queue_length() == 0


def test_scan_beyond_the_unanswered_limit_is_decided_offline(handheld, stand_in):
    handheld.connection._stream.unanswered |= {str(number) for number in range(8)}  # noqa: SLF001 - as after timeouts
    assert handheld.scan(stand_in.ticket()).offline
    assert stand_in.asked == []


@pytest.fixture
def leaving(server, stand_in, new_handheld):
    """Return a device that checks people out of an event with re-entry."""
    stand_in.rules.admission_policy = 2
    handheld = new_handheld(server.address, stand_in.event_id, "out", scan_type=ScanType.CHECK_OUT).connect().follow()
    eventually(lambda: handheld.store.rules(stand_in.event_id))
    return handheld


def test_online_check_out_counts_offline(leaving, server, stand_in, new_handheld):
    token = stand_in.ticket()
    new_handheld(server.address, stand_in.event_id, "in").connect().scan(token)
    stand_in.lose.add("admissions")
    assert leaving.scan(token).may_pass
    server.stop()
    assert leaving.scan(token).reason is DenialReason.NOT_CHECKED_IN


def test_check_out_can_be_annulled(leaving, server, stand_in, new_handheld):
    token = stand_in.ticket()
    new_handheld(server.address, stand_in.event_id, "in").connect().scan(token)
    eventually(lambda: leaving.store.ticket_count(stand_in.event_id) == 1)
    ticket = (stand_in.event_id, ticket_id_in(token))
    eventually(lambda: leaving.store.ticket(*ticket).admission.inside)
    server.stop()
    assert leaving.scan(token).may_pass
    assert leaving.device.annul_last().annulled
    assert leaving.scan(token).may_pass


def test_last_scan_is_annulled_online(copied, stand_in):
    handheld, tokens = copied
    answer = handheld.scan(tokens[0])
    taken = handheld.device.annul_last()
    assert (taken.scan_id, taken.may_pass, taken.annulled) == (answer.scan_id, False, True)
    assert [(passage.scan_id, passage.passed) for passage in stand_in.passages] == [(answer.scan_id, False)]
    assert handheld.device.annul_last().note == NOTHING_TO_UNDO


def test_refused_annulment_is_shown_and_never_uploaded(copied, stand_in):
    handheld, tokens = copied
    handheld.scan(tokens[0])
    stand_in.rejecting["passage"] = error_reason_pb2.ERROR_REASON_SCAN_NOT_ANNULLABLE
    answer = handheld.device.annul_last()
    assert (answer.may_pass, answer.annulled, answer.note) == (False, False, "NOT ANNULLED: too late")
    assert handheld.store.queue_length() == 0
    # The person is inside: the ticket admits nobody else, also without the connection.
    assert handheld.scan(tokens[0]).reason is DenialReason.ALREADY_CHECKED_IN


@pytest.mark.parametrize("reason", ["OVERLOADED", "DEPENDENCY_UNAVAILABLE", "SCAN_NOT_FOUND"])
def test_undecided_annulment_is_uploaded(copied, stand_in, reason):
    handheld, tokens = copied
    answer = handheld.scan(tokens[0])
    stand_in.rejecting["passage"] = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}")
    assert handheld.device.annul_last().annulled
    eventually(lambda: handheld.store.queue_length() == 0)
    assert stand_in.records[answer.scan_id].HasField("annul_time")


def test_ticket_is_valid_again_after_an_offline_annulment(copied, server, stand_in):
    handheld, tokens = copied
    server.stop()
    first = handheld.scan(tokens[0])
    assert not handheld.device.annul_last().may_pass
    second = handheld.scan(tokens[0])
    assert second.may_pass
    server.start()
    eventually(lambda: handheld.store.queue_length() == 0)
    assert stand_in.records[first.scan_id].HasField("annul_time")
    assert not stand_in.records[second.scan_id].HasField("annul_time")


def test_online_scan_annulled_offline_is_queued_as_shown(copied, server, stand_in):
    handheld, tokens = copied
    answer = handheld.scan(tokens[0])
    server.stop()
    handheld.device.annul_last()
    (queued,) = handheld.store.queued(9, 9_999)
    assert (queued.scan_id, queued.offline.verdict) == (answer.scan_id, scan_pb2.VERDICT_ADMITTED)
    assert queued.offline.HasField("annul_time")
    assert handheld.scan(tokens[0]).may_pass
