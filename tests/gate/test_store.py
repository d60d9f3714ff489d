"""The device's file: the replica, the device's own admissions, and the queue of decisions."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from ticketing.admission.tickets import AdmissionState, CheckIn
from ticketing.gate.admission_store import IN_FLIGHT, OwnAdmission
from ticketing.gate.device_file import StoreError
from ticketing.gate.messages import previous_message
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVENT_ID, TICKET_ID = uuid.UUID(int=1), uuid.UUID(int=2)
OURS = CheckIn(uuid.UUID(int=3), NOON, "North")
THEIRS = CheckIn(uuid.UUID(int=4), NOON + SECOND, "South")
ADMITTED = OwnAdmission(EVENT_ID, TICKET_ID, AdmissionState(NOON, OURS, inside=True), str(OURS.scan_id), NOON)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "gate.sqlite")
    yield made
    made.close()


def changes(entry: CheckIn | None = None, *, inside: bool = False, **more) -> pb.WatchAdmissionsResponse:
    check_in = None if entry is None else previous_message(entry)
    ticket = pb.TicketAdmission(ticket_id=TICKET_ID.bytes, issue=1, check_in=check_in, inside=inside)
    return pb.WatchAdmissionsResponse(tickets=[ticket], cursor="2", **more)


@dataclass
class Case:
    """The changes after our own scan, their delay since it was recorded, and whether our record still counts."""

    message: pb.WatchAdmissionsResponse
    own: OwnAdmission = ADMITTED
    after: timedelta | None = SECOND
    ours_counts: bool = True


@pytest.mark.parametrize(
    "case",
    {
        "no check-in, and our scan is not recorded yet": Case(changes(), after=None),
        "sent before our scan was recorded": Case(changes(), after=SECOND),
        "equal to our record": Case(changes(OURS, inside=True), ours_counts=False),
        "a later check-in at another gate": Case(changes(THEIRS, inside=True), after=None, ours_counts=False),
        "our scan was annulled elsewhere": Case(changes(), after=IN_FLIGHT + SECOND, ours_counts=False),
        "we annulled our scan, and the change precedes that": Case(
            changes(OURS, inside=True), own=replace(ADMITTED, admission=AdmissionState()), after=None
        ),
        "we annulled our scan, which the service dated later": Case(
            changes(replace(OURS, time=NOON + SECOND), inside=True),
            own=replace(ADMITTED, admission=AdmissionState()),
            after=None,
        ),
        "our scan, which the service dated later": Case(
            changes(replace(OURS, time=NOON + SECOND), inside=True), after=None, ours_counts=False
        ),
    }.values(),
)
def test_own_scan_counts_until_the_replica_is_as_new(store, case):
    recorded_time = None if case.after is None else NOON
    store.apply(EVENT_ID, pb.WatchAdmissionsResponse(restart=True, cursor="1"), NOON)
    store.save_own_admission(case.own, recorded_time)
    store.apply(EVENT_ID, case.message, NOON + (case.after or SECOND))
    assert (store.own_admission(EVENT_ID, TICKET_ID) is not None) == case.ours_counts


def test_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "gate.sqlite"
    path.write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match=r"gate\.sqlite: the device's file is damaged: .* \(file is not a database\)"):
        Store(path)


def test_file_that_cannot_be_created_is_named(tmp_path):
    with pytest.raises(StoreError, match="the device's file cannot be written: No such file or directory"):
        Store(tmp_path / "nowhere" / "gate.sqlite")


def test_file_of_another_version_is_refused(tmp_path, store):
    store._run("PRAGMA user_version = 99")  # noqa: SLF001 - a later release does this
    store.close()
    with pytest.raises(StoreError, match="of version 99, this program of 4"):
        Store(tmp_path / "gate.sqlite")


def test_failed_transaction_changes_nothing(store):
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012 - the block fails at its end
        store.save_setting("a", "b")
        raise ZeroDivisionError
    assert store.setting("a") is None


def test_decision_changed_after_sending_stays_queued(store):
    sent = pb.ScanAttempt(scan_id="1", offline=pb.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED))
    store.enqueue(sent)
    changed = pb.ScanAttempt()
    changed.CopyFrom(sent)
    changed.offline.annul_time.GetCurrentTime()
    store.enqueue(changed)
    store.remove_delivered([sent], NOON)
    assert store.queued(9, 999) == [changed]


def test_queue_keeps_order_and_message_size(store):
    for number in range(5):
        store.enqueue(pb.ScanAttempt(scan_id=str(number), code="x" * 100))
    assert [scan.scan_id for scan in store.queued(9, 250)] == ["0", "1"]
    assert [scan.scan_id for scan in store.queued(2, 9_999, {"0"})] == ["1", "2"]
    assert [scan.scan_id for scan in store.queued(9, 1)] == ["0"]


def test_skipped_decisions_do_not_count_towards_the_message_size(store):
    for number in range(5):
        store.enqueue(pb.ScanAttempt(scan_id=str(number), code="x" * 100))
    assert [scan.scan_id for scan in store.queued(9, 250, {"0", "1"})] == ["2", "3"]
