"""The statements that lock: which rows they lock, in which order, and what they leave as it is."""

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.feed import CheckInReport, FeedPage
from scan_service.store import annulments, device_reports, devices, feed, reports, revocations, tables
from scan_service.store.admission import STATEMENTS
from tests.environment.waiting import eventually
from tests.scanning.cases import EVENT, NOON, TICKET
from tests.scanning.gates import ScansDatabase, ShownTicket
from ticketing.admission.scans import Gate
from ticketing.admission.tickets import EventStatus, TicketStatus

LATER = NOON + timedelta(minutes=1)


def free_rows(database: ScansDatabase, table: sa.Table, *, share: bool = False) -> set[Any]:
    """Return the keys of the rows of a table that another session could lock, for an update or to share."""
    key = list(table.primary_key.columns)[-1]
    with database.engine.begin() as connection:
        return set(connection.execute(sa.select(key).with_for_update(read=share, skip_locked=True)).scalars())


def prepared(connection: Connection, name: str, *arguments: Sequence[Any]) -> list[Any]:
    """Execute a statement of the scan batch; each argument is an array."""
    connection.exec_driver_sql(f"PREPARE {name}_again {STATEMENTS[name]}")
    marks = ", ".join(["%s"] * len(arguments))
    texts = tuple("{" + ",".join(str(one) for one in argument) + "}" for argument in arguments)
    return list(connection.exec_driver_sql(f"EXECUTE {name}_again({marks})", texts).all())


def keys_of(*shown: ShownTicket) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    return [one.event_id for one in shown], [one.ticket_id for one in shown]


def test_a_batch_shares_events_with_other_batches_but_with_no_change(database: ScansDatabase) -> None:
    event_id = database.event()
    with database.engine.begin() as connection:
        prepared(connection, "lock_events", [event_id])
        assert free_rows(database, tables.events) == set()
        assert free_rows(database, tables.events, share=True) == {event_id}


@pytest.mark.parametrize("name", ["lock_tickets", "lock_groups", "lock_and_read", "lock_and_read_groups"])
def test_a_batch_locks_its_tickets_by_id_and_by_code(database: ScansDatabase, name: str) -> None:
    event_id = database.event()
    by_id, by_code, other = (database.ticket(event_id) for _ in range(3))
    digest = database.value(
        f"SELECT '\\x' || encode(code_digest, 'hex') FROM tickets WHERE ticket_id = '{by_code.ticket_id}'"
    )
    tickets: list[Sequence[Any]] = [*keys_of(by_id), [f'"\\{digest}"']]
    groups: list[Sequence[Any]] = [[], [], []] if "groups" in name else []
    reads: list[Sequence[Any]] = [[event_id], []] if "read" in name else []
    with database.engine.begin() as connection:
        prepared(connection, name, *tickets, *groups, *reads)
        assert free_rows(database, tables.tickets) == {other.ticket_id}


def test_a_new_ticket_that_the_feed_has_delivered_stays_as_it_is(database: ScansDatabase) -> None:
    shown = database.ticket(database.event())
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"PREPARE create_again {STATEMENTS['create_tickets']}")
        values = (f"{{{shown.event_id}}}", f"{{{shown.ticket_id}}}", "{VIP}", "{1}", '{"\\\\x00"}')
        connection.exec_driver_sql("EXECUTE create_again(%s, %s, %s, %s, %s)", values)
    [row] = database.rows("tickets")
    assert (row["known"], row["ticket_type"]) == (True, "STANDARD")


def locked_in_order(database: ScansDatabase, lock: Callable[[Connection, Sequence[ShownTicket]], Any]) -> None:
    """Fail unless `lock` locks no ticket while another session has that with the lowest id."""
    event_id = database.event()
    shown = sorted((database.ticket(event_id) for _ in range(8)), key=lambda one: one.ticket_id)
    with database.engine.begin() as other:
        lowest = sa.select(tables.tickets).where(tables.tickets.c.ticket_id == shown[0].ticket_id)
        other.execute(lowest.with_for_update())

        def work() -> None:
            with database.engine.begin() as connection:
                lock(connection, shown[::-1])

        waiting = threading.Thread(target=work)
        waiting.start()
        locks = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        eventually(lambda: database.value(locks), 1)
        assert free_rows(database, tables.tickets) == {one.ticket_id for one in shown[1:]}
    waiting.join()


@pytest.mark.parametrize("name", ["lock_tickets", "lock_groups"])
def test_a_batch_locks_tickets_in_the_order_of_their_ids(database: ScansDatabase, name: str) -> None:
    groups: list[Sequence[Any]] = [[], [], []] if name == "lock_groups" else []
    locked_in_order(database, lambda connection, shown: prepared(connection, name, *keys_of(*shown), [], *groups))


def test_revocations_lock_tickets_in_the_order_of_their_ids(database: ScansDatabase) -> None:
    def lock(connection: Connection, shown: Sequence[ShownTicket]) -> None:
        named = [(one.ticket_id, 1, one.ticket_id.bytes) for one in shown]
        assert len(revocations.lock_tickets(connection, shown[0].event_id, named)) == len(shown)

    locked_in_order(database, lock)


def test_a_ticket_of_the_feed_stays_known_while_it_is_revoked(database: ScansDatabase) -> None:
    shown = database.ticket(database.event())
    with database.engine.begin() as connection:
        revocations.lock_tickets(connection, shown.event_id, [(shown.ticket_id, 7, b"other")])
    [row] = database.rows("tickets")
    assert (row["known"], row["issue"]) == (True, 1)


def test_free_tickets_are_revoked_beside_a_locked_one(database: ScansDatabase) -> None:
    event_id = database.event()
    first, second = (database.ticket(event_id) for _ in range(2))
    with database.engine.begin() as other, database.engine.begin() as connection:
        other.execute(sa.select(tables.tickets).where(tables.tickets.c.ticket_id == first.ticket_id).with_for_update())
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        wanted = [first.ticket_id, second.ticket_id]
        assert revocations.skip_locked(connection, event_id, wanted) == {first.ticket_id}
        assert free_rows(database, tables.tickets) == set()


@pytest.mark.parametrize("known", [True, False])
def test_a_closed_event_is_closed_whether_it_was_known_or_not(database: ScansDatabase, known: bool) -> None:  # noqa: FBT001 - a parameter of the test
    event_id = database.event() if known else uuid.uuid4()
    with database.engine.begin() as connection:
        revocations.close_event(connection, event_id)
    [row] = database.rows("events")
    assert (row["closed"], row["status"]) == (True, "PUBLISHED" if known else "CANCELLED")


def test_an_annulment_locks_the_event_and_the_ticket(database: ScansDatabase) -> None:
    event_id = database.event()
    shown, other = (database.ticket(event_id) for _ in range(2))
    scan_id = uuid.uuid4()
    values = {
        "event_id": event_id,
        "scan_id": scan_id,
        "ticket_id": shown.ticket_id,
        "ticket_event_id": event_id,
        "fingerprint": b"f" * 16,
        "code": "",
        "scan_type": "CHECK_IN",
        "verdict": "ADMITTED",
        "scan_time": NOON,
        "record_time": NOON,
        "location": "",
        "device_id": "",
        "scanner_user_id": "sam",
        "metadata": {},
        "offline": False,
    }
    database.insert(tables.scans, **values)
    denied = {"scan_id": uuid.uuid4(), "verdict": "DENIED", "denial_reason": "EXPIRED"}
    database.insert(tables.scans, **values | denied)
    exit_denied = {"scan_id": uuid.uuid4(), "verdict": "DENIED", "denial_reason": "NOT_CHECKED_IN"}
    database.insert(tables.scans, **values | exit_denied | {"scan_type": "CHECK_OUT"})
    with database.engine.begin() as connection:
        [locked] = annulments.lock_scans(connection, scan_id)
        assert free_rows(database, tables.tickets) == {other.ticket_id}
        assert free_rows(database, tables.events) == set()
        assert free_rows(database, tables.events, share=True) == {event_id}
    # The admitted scans and the denied exits of the ticket, no other denial.
    assert {scan.scan_id for scan in locked.scans} == {scan_id, exit_denied["scan_id"]}


def add_device(database: ScansDatabase, **values: Any) -> uuid.UUID:
    device_id = uuid.uuid4()
    usual = {"device_id": device_id, "organizer_id": "orga", "name": "North", "event_ids": [], "create_time": NOON}
    database.insert(tables.devices, **usual | {"code_digest": device_id.bytes} | values)
    return device_id


def test_an_enrollment_locks_its_device(database: ScansDatabase) -> None:
    device_id, other = add_device(database), add_device(database)
    with database.engine.begin() as connection:
        found, token = devices.lock_by_code(connection, device_id.bytes)
        assert (found and found.device_id, token) == (device_id, None)
        assert free_rows(database, tables.devices) == {other}


def test_the_presence_of_locked_devices_is_recorded_later(database: ScansDatabase) -> None:
    locked, free = add_device(database), add_device(database)
    with database.engine.begin() as other, database.engine.begin() as connection:
        other.execute(sa.select(tables.devices).where(tables.devices.c.device_id == locked).with_for_update())
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        devices.record_presence(connection, [str(locked), str(free)], NOON, LATER)
        gates = {str(device_id): Gate(uuid.uuid4(), "North") for device_id in (locked, free)}
        assert devices.record_gates(connection, gates, NOON, LATER) == {str(free)}
    until = {row["device_id"]: row["connected_until"] for row in database.rows("devices")}
    assert until == {locked: None, free: LATER}


def test_a_device_is_revoked_once_and_by_its_organizer(database: ScansDatabase) -> None:
    device_id = add_device(database)
    with database.engine.begin() as connection:
        assert devices.revoke(connection, device_id, "olga", NOON) is None
        for time in (NOON, LATER):
            revoked = devices.revoke(connection, device_id, "orga", time)
            assert revoked is not None
            assert revoked.revoke_time == NOON
        revoked_now, found = devices.revoke_many(connection, [device_id], LATER)
        assert (list(revoked_now), set(found)) == ([], {device_id})


def test_the_report_of_a_device_that_changed_meanwhile_is_repeated(database: ScansDatabase) -> None:
    device_id = add_device(database)
    with database.engine.begin() as connection:
        sent = device_reports.read_unreported(connection, 9)
        devices.revoke(connection, device_id, None, NOON)
        device_reports.mark_reported(connection, sent)
        [again] = device_reports.read_unreported(connection, 9)
        device_reports.mark_reported(connection, [again])
        assert device_reports.read_unreported(connection, 9) == []
        # An earlier state takes nothing back.
        assert device_reports.take_back(connection, sent, LATER) == (0, 0)
        assert device_reports.take_back(connection, [again], LATER) == (0, 0)
    [row] = database.rows("devices")
    assert row["revoke_time"] == NOON


def test_a_lost_enrollment_is_taken_back_and_a_present_one_stays(database: ScansDatabase) -> None:
    device_id = add_device(database, enroll_time=NOON, token_digest=b"first")
    with database.engine.begin() as connection:
        [enrolled] = device_reports.read_unreported(connection, 9)
        connection.execute(tables.devices.update().values(enroll_time=None, token_digest=None))
        assert device_reports.take_back(connection, [enrolled], LATER) == (1, 0)
        connection.execute(tables.devices.update().values(token_digest=b"second"))
        assert device_reports.take_back(connection, [enrolled], LATER) == (0, 0)
    [row] = database.rows("devices")
    assert (row["device_id"], bytes(row["token_digest"])) == (device_id, b"second")


def test_incidents_are_reported_once_and_only_with_scans(database: ScansDatabase) -> None:
    event_id, scan_id = database.event(), uuid.uuid4()
    key = {"event_id": event_id, "kind": "CODE_GUESSING", "subject": uuid.uuid4()}
    database.insert(tables.incidents, **key, incident_id=uuid.uuid4(), create_time=NOON)
    with database.engine.begin() as connection:
        assert reports.read_unreported_incidents(connection, 9) == []
    scan = {
        "scan_type": "CHECK_IN",
        "verdict": "DENIED",
        "denial_reason": "TICKET_NOT_FOUND",
        "code": "",
        "location": "",
    }
    who = {"scan_time": NOON, "record_time": NOON, "device_id": "", "scanner_user_id": "sam", "metadata": {}}
    its = {"event_id": event_id, "scan_id": scan_id, "fingerprint": b"f" * 16, "offline": False}
    database.insert(tables.scans, **its, **scan, **who)
    database.insert(tables.incident_scans, **key, scan_id=scan_id)
    with database.engine.begin() as connection:
        [report] = reports.read_unreported_incidents(connection, 9)
        reports.mark_incidents_reported(connection, [report])
        assert (report.scan_count, reports.read_unreported_incidents(connection, 9)) == (1, [])


def test_a_confirmed_older_check_in_confirms_no_newer_one(database: ScansDatabase) -> None:
    shown = database.ticket(database.event(), sequence=5, reported_sequence=3)

    def confirm(sequence: int) -> list[int]:
        report = CheckInReport(str(shown.event_id), str(shown.ticket_id), None, sequence)
        with database.engine.begin() as connection:
            reports.mark_check_ins_reported(connection, [report])
            return [report.sequence for report in reports.read_unreported_check_ins(connection, 9)]

    assert (confirm(4), confirm(2)) == ([5], [5])
    assert database.value("SELECT reported_sequence FROM tickets") == 4
    assert confirm(5) == []


def test_the_report_of_a_locked_ticket_is_repeated(database: ScansDatabase) -> None:
    shown = database.ticket(database.event(), sequence=1)
    report = CheckInReport(str(shown.event_id), str(shown.ticket_id), None, 1)
    with database.engine.begin() as other, database.engine.begin() as connection:
        other.execute(sa.select(tables.tickets).with_for_update())
        connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
        assert reports.mark_check_ins_reported(connection, [report]) == 0


def page(revision: int, epoch: str = "one", **ticket: Any) -> FeedPage:
    changed = replace(TICKET, issue=1, code_digest=b"code", token_digest=b"token", **ticket)
    return FeedPage(EVENT, revision, [(changed, revision)], revision, epoch)


def test_the_replica_is_saved_by_one_process_at_a_time(database: ScansDatabase) -> None:
    with database.engine.begin() as connection:
        feed.save_pages(connection, [page(5)], "")
    with database.engine.begin() as connection:
        feed.save_pages(connection, [page(6)], "one")
        assert free_rows(database, tables.feed) == set()


def test_the_replica_follows_one_epoch(database: ScansDatabase) -> None:
    with database.engine.begin() as connection:
        feed.save_pages(connection, [page(5)], "")
        for work in (
            lambda: feed.save_pages(connection, [page(6)], "another"),
            lambda: feed.mark_complete(connection, NOON, "another"),
        ):
            with pytest.raises(feed.PositionChangedError):
                work()
        feed.mark_complete(connection, NOON, "one")
    assert database.value("SELECT whole_time FROM feed") == NOON


def test_older_pages_replace_neither_tickets_events_nor_cursors(database: ScansDatabase) -> None:
    cancelled = replace(EVENT, status=EventStatus.CANCELLED)
    older = replace(page(4, status=TicketStatus.BLOCKED), event=cancelled)
    with database.engine.begin() as connection:
        feed.save_pages(connection, [page(5)], "")
        feed.save_pages(connection, [older], "one")
        position = feed.read_position(connection, NOON)
    assert position.revisions == {str(EVENT.event_id): 5}
    assert {row["status"] for row in database.rows("tickets")} == {"ACTIVE"}
    assert {row["status"] for row in database.rows("events")} == {"PUBLISHED"}
    with database.engine.begin() as connection:
        feed.save_pages(connection, [replace(older, epoch="two")], "one")
    assert {row["status"] for row in database.rows("tickets")} == {"BLOCKED"}


def test_the_feed_undoes_no_revocation_of_a_ticket_or_an_issue(database: ScansDatabase) -> None:
    with database.engine.begin() as connection:
        feed.save_pages(connection, [page(5)], "")
        changes = {"status": "REFUNDED", "issue": 2, "code_digest": b"newer", "token_digest": None}
        connection.execute(tables.tickets.update().values(**changes, purchase_id=uuid.UUID(int=7)))
        feed.save_pages(connection, [page(6)], "one")
    [row] = database.rows("tickets")
    assert (row["status"], row["issue"], bytes(row["code_digest"]), row["token_digest"]) == (
        "REFUNDED",
        2,
        b"newer",
        None,
    )
    assert (row["purchase_id"], row["revision"]) == (uuid.UUID(int=7), 6)
