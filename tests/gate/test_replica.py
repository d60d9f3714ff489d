"""The device replica follows the changes of its event, over as many streams as it takes."""

import sqlite3
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.environment.waiting import eventually
from ticketing.admission.tickets import AdmissionState, CheckIn
from ticketing.gate import admission_store
from ticketing.gate.admission_store import OwnAdmission, ReplicaState
from ticketing.gate.device_file import StoreError
from ticketing.gate.messages import timestamp
from ticketing.gate.retrying import Outcome
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_service_pb2 as pb

NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
EVENT_ID, OTHER_ID = uuid.UUID(int=1), uuid.UUID(int=2)
RULES = pb.GateRules(event_name="Concert")


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "gate.sqlite")
    yield made
    made.close()


def a_page(*numbers: int, **fields) -> pb.WatchAdmissionsResponse:
    tickets = [pb.TicketAdmission(ticket_id=uuid.UUID(int=number).bytes, issue=1) for number in numbers]
    return pb.WatchAdmissionsResponse(tickets=tickets, **fields)


def test_replica_is_used_once_its_last_page_has_arrived(store):
    store.apply(EVENT_ID, a_page(1, restart=True, rules=RULES, page_cursor="p1"), NOON)
    assert store.rules(EVENT_ID) is None
    assert store.replica_state(EVENT_ID) == ReplicaState(is_complete=False, loaded=1)
    store.apply(EVENT_ID, a_page(2, cursor="c1"), NOON + SECOND)
    assert store.rules(EVENT_ID).event.name == "Concert"
    assert store.ticket_count(EVENT_ID) == 2
    assert store.replica_state(EVENT_ID) == ReplicaState(is_complete=True, confirm_time=NOON + SECOND)


def test_interrupted_replica_continues_after_its_last_page(store, tmp_path):
    store.apply(EVENT_ID, a_page(1, restart=True, rules=RULES, page_cursor="p1"), NOON)
    store.close()
    again = Store(tmp_path / "gate.sqlite")
    again.discard_unresumable_replica(EVENT_ID)
    assert again.cursor(EVENT_ID) == "p1"
    again.apply(EVENT_ID, a_page(2, rules=RULES, page_cursor="p2"), NOON)
    # The first message of a stream may repeat what the device has.
    again.apply(EVENT_ID, a_page(2, 3, rules=RULES, cursor="c1"), NOON)
    assert (again.cursor(EVENT_ID), again.ticket_count(EVENT_ID)) == ("c1", 3)
    again.close()


def test_new_replica_replaces_the_old_one_once_complete(store):
    store.apply(EVENT_ID, a_page(1, 2, restart=True, rules=RULES, cursor="c1"), NOON)
    store.apply(EVENT_ID, a_page(3, restart=True, rules=RULES, page_cursor="p1"), NOON)
    assert (store.cursor(EVENT_ID), store.ticket_count(EVENT_ID)) == ("p1", 2)
    assert store.replica_state(EVENT_ID).is_complete
    store.apply(EVENT_ID, a_page(4, cursor="c2"), NOON)
    assert (store.cursor(EVENT_ID), store.ticket_count(EVENT_ID)) == ("c2", 2)
    assert store._value("SELECT count(*) FROM replica_tickets") == 2  # noqa: SLF001 - the old replica is deleted


def test_replica_of_an_older_service_starts_anew_after_an_interruption(store):
    store.apply(EVENT_ID, a_page(1, restart=True, rules=RULES, cursor="c1"), NOON)
    # Only the last message of an older service has a position.
    store.apply(EVENT_ID, a_page(2, restart=True, rules=RULES), NOON)
    store.discard_unresumable_replica(EVENT_ID)
    assert store.cursor(EVENT_ID) == "c1"
    store.apply(EVENT_ID, a_page(5, cursor="c2"), NOON)
    assert store.ticket_count(EVENT_ID) == 2


def test_own_scan_during_the_load_counts_until_the_changes_after_it(store):
    scan = CheckIn(uuid.UUID(int=9), NOON + SECOND, "North")
    own = OwnAdmission(EVENT_ID, uuid.UUID(int=1), AdmissionState(NOON, scan, inside=True), str(scan.scan_id), NOON)
    # The page was read before the scan; the last page arrives minutes later.
    store.apply(EVENT_ID, a_page(1, restart=True, rules=RULES, page_cursor="p1"), NOON)
    store.save_own_admission(own, NOON + SECOND)
    store.apply(EVENT_ID, a_page(2, cursor="c1"), NOON + 300 * SECOND)
    assert store.own_admission(EVENT_ID, uuid.UUID(int=1)) is not None


def test_scan_waits_for_one_piece_of_the_replica_alone(store, monkeypatch):
    """The pieces are the transactions of 1,000 tickets; a reader gets its turn between any two of them."""
    monkeypatch.setattr(admission_store, "PIECE", 10)
    begun = threading.Event()
    loaded = set[int]()

    def read() -> None:
        begun.wait(10)
        while (state := store.replica_state(EVENT_ID)).loaded < 1000 and not state.is_complete:
            loaded.add(state.loaded)

    reader = threading.Thread(target=read)
    reader.start()
    store.apply(EVENT_ID, a_page(restart=True, rules=RULES, page_cursor="p0"), NOON)
    begun.set()
    store.apply(EVENT_ID, a_page(*range(1000), cursor="c1"), NOON)
    reader.join()
    assert len(loaded) > 10
    assert all(count % 10 == 0 for count in loaded)


def test_stream_that_ends_after_its_first_response_is_retried_with_backoff(handheld, stand_in):
    stand_in.ticket()
    stand_in.pages_per_stream = 1
    follow = handheld.replica._follow  # noqa: SLF001 - one attempt of the thread
    assert follow() is Outcome.LASTED
    stand_in.pages_per_stream = 0
    assert follow() is Outcome.FAILED


def test_replica_waits_for_the_scan_in_progress_between_two_pieces(store, monkeypatch):
    monkeypatch.setattr(admission_store, "PIECE", 10)
    monkeypatch.setattr(admission_store, "_SCAN_SECONDS", 60)
    store.apply(EVENT_ID, a_page(restart=True, rules=RULES, page_cursor="p0"), NOON)
    loading = threading.Thread(target=store.apply, args=(EVENT_ID, a_page(*range(1000), cursor="c1"), NOON))
    with store.scan_in_progress():
        loading.start()
        for _ in range(5):
            store.save_setting("scan", "a transaction of the scan")
            assert store.replica_state(EVENT_ID).loaded <= 10
    loading.join()
    assert store.ticket_count(EVENT_ID) == 1000


def test_replica_is_loaded_beside_a_scan_that_never_ends(store, monkeypatch):
    monkeypatch.setattr(admission_store, "_SCAN_SECONDS", 0.01)
    with store.scan_in_progress():
        store.apply(EVENT_ID, a_page(*range(1000), restart=True, rules=RULES, cursor="c1"), NOON)
    assert store.ticket_count(EVENT_ID) == 1000


def test_replaced_replica_is_deleted_beside_that_of_another_event(store):
    store.apply(OTHER_ID, a_page(1, restart=True, rules=RULES, cursor="c1"), NOON)
    for number in range(2, 5):
        store.apply(EVENT_ID, a_page(number, restart=True, rules=RULES, cursor="c1"), NOON)
    assert store._value("SELECT count(*) FROM replica_tickets") == 2  # noqa: SLF001 - one of each event


def test_past_event_is_deleted_once_its_scans_are_delivered(store):
    ended = pb.GateRules(event_name="Past", valid_until_time=timestamp(NOON))
    scan = CheckIn(uuid.UUID(int=9), NOON, "North")
    own = OwnAdmission(OTHER_ID, uuid.UUID(int=1), AdmissionState(NOON, scan, inside=True), str(scan.scan_id), NOON)
    store.apply(OTHER_ID, a_page(1, 2, restart=True, rules=ended, cursor="c1"), NOON)
    store.save_own_admission(own, None)
    store.delete_past_events(EVENT_ID, NOON + 4 * DAY)
    assert store.ticket_count(OTHER_ID) == 2
    store.save_own_admission(own, NOON)
    store.delete_past_events(EVENT_ID, NOON + 2 * DAY)
    store.delete_past_events(OTHER_ID, NOON + 4 * DAY)
    assert store.ticket_count(OTHER_ID) == 2
    store.delete_past_events(EVENT_ID, NOON + 4 * DAY)
    assert store.rules(OTHER_ID) is None
    assert store.own_admission(OTHER_ID, uuid.UUID(int=1)) is None
    assert store._value("SELECT count(*) FROM replica_tickets") == 0  # noqa: SLF001 - nothing is left


def test_event_that_is_not_over_stays_on_the_device(store):
    coming = pb.GateRules(event_name="Festival", valid_until_time=timestamp(NOON + 30 * DAY))
    store.apply(OTHER_ID, a_page(1, restart=True, rules=coming, cursor="c1"), NOON)
    store.delete_past_events(EVENT_ID, NOON + 20 * DAY)
    assert store.ticket_count(OTHER_ID) == 1


def test_large_replica_arrives_over_streams_that_carry_one_page_each(handheld, stand_in, monkeypatch):
    monkeypatch.setattr(stand_in, "page_size", 3)
    monkeypatch.setattr(stand_in, "pages_per_stream", 1)
    tokens = [stand_in.ticket() for _ in range(20)]
    handheld.follow()
    eventually(lambda: handheld.store.replica_state(stand_in.event_id).is_complete)
    assert handheld.store.ticket_count(stand_in.event_id) == len(tokens)
    assert len(stand_in.after_cursors) >= 7


def test_file_of_version_1_keeps_its_replica_and_queue(tmp_path):
    path = tmp_path / "gate.sqlite"
    attempt = pb.ScanAttempt(scan_id="1", code="T1")
    ticket = pb.TicketAdmission(ticket_id=uuid.UUID(int=2).bytes, issue=3)
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE copies (event_id BLOB PRIMARY KEY, rules BLOB, cursor TEXT NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE tickets (event_id BLOB, ticket_id BLOB, admission BLOB NOT NULL,"
            " PRIMARY KEY (event_id, ticket_id)) WITHOUT ROWID;"
            "CREATE TABLE own (event_id BLOB, ticket_id BLOB, admission BLOB NOT NULL, scan_id TEXT NOT NULL,"
            " change_time INTEGER NOT NULL, settle_time INTEGER, PRIMARY KEY (event_id, ticket_id)) WITHOUT ROWID;"
            "CREATE TABLE asked (scan_id TEXT PRIMARY KEY, question BLOB NOT NULL, begin_time INTEGER NOT NULL,"
            " answer BLOB) WITHOUT ROWID;"
            "CREATE TABLE decisions (sequence INTEGER PRIMARY KEY, scan_id TEXT NOT NULL UNIQUE, attempt BLOB NOT NULL);"
            "PRAGMA user_version = 1"
        )
        database.execute("INSERT INTO copies VALUES (?, ?, 'c1')", (EVENT_ID.bytes, RULES.SerializeToString()))
        row = (EVENT_ID.bytes, ticket.ticket_id, ticket.SerializeToString())
        database.execute("INSERT INTO tickets VALUES (?, ?, ?)", row)
        database.execute("INSERT INTO decisions VALUES (1, '1', ?)", (attempt.SerializeToString(),))
    database.close()
    store = Store(path)
    assert store.cursor(EVENT_ID) == "c1"
    replicated = store.ticket(EVENT_ID, uuid.UUID(int=2))
    assert replicated is not None
    assert replicated.issue == 3
    assert store.replica_state(EVENT_ID) == ReplicaState(is_complete=True)
    assert store.queued(9, 999) == [attempt]
    store.close()


def test_second_program_on_one_file_is_refused(store, tmp_path):
    with pytest.raises(StoreError, match="locked"):
        Store(tmp_path / "gate.sqlite")
