"""The device's copy: whole, followed as it changes, and never taken for newer than the device's own scans."""

import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.environment.waiting import eventually
from ticketing.admission.tickets import Admission, CheckIn
from ticketing.gate.messages import previous_message
from ticketing.gate.store import IN_FLIGHT, Own, Store, StoreError
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVENT_ID, TICKET_ID = uuid.UUID(int=1), uuid.UUID(int=2)
OURS = CheckIn(uuid.UUID(int=3), NOON, "North")
THEIRS = CheckIn(uuid.UUID(int=4), NOON + SECOND, "South")
ADMITTED = Own(EVENT_ID, TICKET_ID, Admission(NOON, OURS, inside=True), str(OURS.scan_id), NOON)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "gate.sqlite")
    yield made
    made.close()


def told(entry: CheckIn | None = None, *, inside: bool = False, **more) -> list[pb.WatchAdmissionsResponse]:
    check_in = None if entry is None else previous_message(entry)
    ticket = pb.TicketAdmission(ticket_id=TICKET_ID.bytes, issue=1, check_in=check_in, inside=inside)
    return [pb.WatchAdmissionsResponse(tickets=[ticket], **more)]


@dataclass
class Case:
    """What the copy tells after a scan of ours, how much later than it was recorded, and whether ours counts on."""

    messages: list[pb.WatchAdmissionsResponse]
    own: Own = ADMITTED
    after: timedelta | None = SECOND
    ours_counts: bool = True


@pytest.mark.parametrize(
    "case",
    {
        "it tells of no check-in, and ours is still on its way": Case(told(), after=None),
        "it was sent before ours was recorded": Case(told(), after=SECOND),
        "it tells the same": Case(told(OURS, inside=True), ours_counts=False),
        "another gate came later": Case(told(THEIRS, inside=True), after=None, ours_counts=False),
        "ours was annulled elsewhere since": Case(told(), after=IN_FLIGHT + SECOND, ours_counts=False),
        "we have taken ours back, which it does not know yet": Case(
            told(OURS, inside=True), own=replace(ADMITTED, admission=Admission()), after=None
        ),
    }.values(),
)
def test_our_own_scan_counts_until_the_copy_is_as_new(store, case):
    settled = None if case.after is None else NOON
    store.keep_own(case.own, settled)
    store.apply(EVENT_ID, case.messages, NOON + (case.after or SECOND))
    assert (store.own(EVENT_ID, TICKET_ID) is not None) == case.ours_counts


def test_a_copy_that_begins_anew_replaces_the_old_one_only_when_it_is_whole(handheld, stand_in):
    stand_in.ticket()
    handheld.follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 1)
    before = handheld.store.cursor(stand_in.event_id)
    parts = [pb.WatchAdmissionsResponse(rules=stand_in.rules, restart=True), *told(), *told(cursor="whole")]
    parts[-1].tickets[0].ticket_id = uuid.uuid4().bytes
    seen = []

    class Link:
        metadata = ()

        class stub:  # noqa: N801 - a stub's part
            @staticmethod
            def WatchAdmissions(request, metadata):  # noqa: N802
                seen.append(request.after_cursor)
                return Call()

    class Call:
        def __iter__(self):
            for part in parts:
                assert handheld.store.cursor(stand_in.event_id) == before
                yield part

        def cancel(self) -> None:
            handheld.copy._stopped.set()  # noqa: SLF001 - once is enough

    eventually(lambda: handheld.store.cursor(stand_in.event_id))
    before = handheld.store.cursor(stand_in.event_id)
    handheld.copy.stop()
    handheld.copy._link = Link  # noqa: SLF001 - a service that sends what this test wants
    handheld.copy._stopped.clear()  # noqa: SLF001 - as said
    handheld.copy._run()  # noqa: SLF001 - as said
    assert seen == [before]
    assert (handheld.store.cursor(stand_in.event_id), handheld.store.ticket_count(stand_in.event_id)) == ("whole", 2)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path):
    path = tmp_path / "gate.sqlite"
    path.write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match=r"gate\.sqlite: file is not a database"):
        Store(path)


def test_a_file_that_cannot_be_made_is_said_plainly(tmp_path):
    with pytest.raises(StoreError, match="No such file or directory"):
        Store(tmp_path / "nowhere" / "gate.sqlite")


def test_a_file_of_another_version_is_refused(tmp_path, store):
    store._run("PRAGMA user_version = 99")  # noqa: SLF001 - as a later release would
    store.close()
    with pytest.raises(StoreError, match="of version 99, this program of 1"):
        Store(tmp_path / "gate.sqlite")


def test_a_transaction_is_whole_or_nothing(store):
    with pytest.raises(ZeroDivisionError), store.transaction():  # noqa: PT012 - the second ends what the first began
        store.keep_setting("a", "b")
        raise ZeroDivisionError
    assert store.setting("a") is None


def test_a_decision_changed_after_it_was_sent_stays_to_be_delivered(store):
    sent = pb.ScanAttempt(scan_id="1", offline=pb.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED))
    store.enqueue(sent)
    changed = pb.ScanAttempt()
    changed.CopyFrom(sent)
    changed.offline.annul_time.GetCurrentTime()
    store.enqueue(changed)
    store.delivered([sent], NOON)
    assert store.queued(9, 999) == [changed]


def test_decisions_leave_in_their_order_and_within_the_bytes_of_a_message(store):
    for number in range(5):
        store.enqueue(pb.ScanAttempt(scan_id=str(number), code="x" * 100))
    assert [scan.scan_id for scan in store.queued(9, 250)] == ["0", "1"]
    assert [scan.scan_id for scan in store.queued(2, 9_999, {"0"})] == ["1", "2"]
    assert [scan.scan_id for scan in store.queued(9, 1)] == ["0"]
