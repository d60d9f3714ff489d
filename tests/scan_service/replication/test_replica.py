"""Tests of the replica: it follows the feed, and the feed never undoes a revocation or a check-in."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scan_service import app
from tests.environment.databases import connected
from tests.environment.messages import at
from tests.environment.waiting import until
from tests.scanning.gates import CODES, DAY, NOW, Device, token_of
from ticketing.scans.v1 import revocation_service_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as scans_pb
from ticketing.tickets.v1 import event_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.signing_key_pb2 import SigningKey

ACTIVE, BLOCKED, REFUNDED = (
    ticket_pb2.TICKET_STATUS_ACTIVE,
    ticket_pb2.TICKET_STATUS_BLOCKED,
    ticket_pb2.TICKET_STATUS_REFUNDED,
)


def page(event_id, *tickets, revision=1, epoch="a", **event) -> pb.WatchTicketsResponse:
    usual: dict[str, Any] = {
        "event_id": str(event_id),
        "name": "Concert",
        "status": event_pb2.EVENT_STATUS_PUBLISHED,
        "admission_policy": event_pb2.ADMISSION_POLICY_SINGLE_ENTRY,
        "valid_from_time": at(NOW - DAY),
        "valid_until_time": at(NOW + DAY),
        "organizer_id": "orga",
        "revision": 1,
    }
    return pb.WatchTicketsResponse(
        event=pb.GateEvent(**(usual | event)), tickets=tickets, revision=revision, epoch=epoch
    )


def gate_ticket(shown, revision=1, status=ACTIVE, issue=1, **values) -> pb.GateTicket:
    return pb.GateTicket(
        ticket_id=str(shown.ticket_id),
        code_digest=CODES.digest(CODES.code(shown.ticket_id, issue)),
        ticket_type=event_pb2.TICKET_TYPE_STANDARD,
        status=status,
        issue=issue,
        revision=revision,
        **values,
    )


def row_of(database, table="tickets", index=0):
    rows = database.rows(table)
    return rows[index] if len(rows) > index else {}


async def test_a_ticket_of_the_feed_is_admitted_by_its_code(database, paired, tickets):
    event_id = uuid.uuid4()
    shown = database.unknown(event_id)
    day = {"valid_from_time": at(NOW - DAY), "valid_until_time": at(NOW + DAY)}
    await tickets[0].pages.put(page(event_id, gate_ticket(shown, **day)))
    await until(lambda: database.rows("tickets"))
    scan = await paired.scan(event_id, shown.code)
    assert scan.verdict == scan_pb2.VERDICT_ADMITTED
    assert tickets[0].metadata["authorization"].startswith("Bearer ")
    assert tickets[0].metadata["x-request-id"]


async def test_pages_that_arrive_during_a_save_are_saved_together(database, paired, tickets):
    """A hundred events on sale send a hundred pages at once; saved one by one, the replica lagged by seconds."""
    event_ids = [uuid.uuid4() for _ in range(20)]
    with connected(database.url) as cursor:
        # While this row is locked, no page is saved.
        cursor.execute("SELECT FROM feed FOR UPDATE")
        for event_id in event_ids:
            await tickets[0].pages.put(page(event_id, gate_ticket(database.unknown(event_id))))
        await until(tickets[0].pages.empty)
    await until(lambda: len(database.rows("tickets")) == len(event_ids))
    transactions = {row["changed_by"] for row in database.rows("tickets")}
    assert len(transactions) < len(event_ids) / 2
    assert {row["event_id"] for row in database.rows("feed_cursors")} == set(event_ids)


@pytest.fixture
def short_lock_waits(long_lock_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(app.LOCK_MILLISECONDS, "lock_timeout", 100)


@pytest.mark.usefixtures("short_lock_waits")
async def test_a_locked_ticket_delays_the_replica_of_its_event_alone(database, paired, tickets):
    x, y = database.event(), uuid.uuid4()
    shown = database.ticket(x)
    blocked = page(x, gate_ticket(shown, revision=2, status=BLOCKED), revision=2)
    message = page(x, gate_ticket(shown, revision=2, status=BLOCKED), revision=2)
    # The later page of the locked event must not move its cursor past the first one.
    for other in (page(x, revision=3), page(y, gate_ticket(database.unknown(y)))):
        message.others.add(event=other.event, tickets=other.tickets, revision=other.revision)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SELECT FROM tickets FOR UPDATE")
        await tickets[0].pages.put(message)
        await until(lambda: {row["event_id"] for row in database.rows("tickets")}, {x, y})
        # The stream ends, and the next one begins at the cursor of the locked event.
        await until(lambda: len(tickets[0].watched) > 1)
        assert set(tickets[0].watched[-1].after_revisions) == {str(y)}
    await tickets[0].pages.put(blocked)
    await until(lambda: [row["status"] for row in database.rows("tickets") if row["event_id"] == x], ["BLOCKED"])


async def test_a_message_of_several_events_is_saved_whole(database, paired, tickets):
    event_ids = [uuid.uuid4() for _ in range(3)]
    first, *others = [page(event_id, gate_ticket(database.unknown(event_id)), revision=4) for event_id in event_ids]
    for other in others:
        first.others.add(event=other.event, tickets=other.tickets, revision=other.revision)
    await tickets[0].pages.put(first)
    await until(lambda: database.rows("feed_cursors"))
    assert {row["event_id"] for row in database.rows("tickets")} == set(event_ids)
    assert {(row["event_id"], row["revision"]) for row in database.rows("feed_cursors")} == {
        (key, 4) for key in event_ids
    }
    assert row_of(database, "feed")["epoch"] == "a"
    assert tickets[0].watched[0].max_events > 1


async def test_the_later_of_pages_saved_together_prevails(database, paired, tickets):
    event_id, other = uuid.uuid4(), uuid.uuid4()
    shown = database.unknown(event_id)
    with connected(database.url) as cursor:
        cursor.execute("SELECT FROM feed FOR UPDATE")
        await tickets[0].pages.put(page(other, revision=3))
        await tickets[0].pages.put(page(event_id, gate_ticket(shown), revision=8))
        await tickets[0].pages.put(page(event_id, gate_ticket(shown, revision=9, status=BLOCKED), revision=9))
        await tickets[0].pages.put(page(event_id, gate_ticket(shown, revision=2), revision=2, epoch="b"))
        await until(tickets[0].pages.empty)
    await until(lambda: row_of(database, "feed").get("epoch") == "b" and database.rows("feed_cursors"))
    assert (row_of(database)["status"], row_of(database)["revision"], row_of(database)["generation"]) == (
        "ACTIVE",
        2,
        2,
    )
    # The new epoch has sent nothing else.
    assert [(row["event_id"], row["revision"]) for row in database.rows("feed_cursors")] == [(event_id, 2)]


async def test_the_replica_resumes_after_the_stream_ends(database, paired, tickets):
    event_id = uuid.uuid4()
    await tickets[0].pages.put(page(event_id, revision=7))
    await until(lambda: row_of(database, "feed_cursors").get("revision") == 7)
    await tickets[0].pages.put(None)
    await until(lambda: len(tickets[0].watched) > 1)
    assert tickets[0].watched[0].epoch == ""
    assert (dict(tickets[0].watched[-1].after_revisions), tickets[0].watched[-1].epoch) == ({str(event_id): 7}, "a")


async def test_events_that_ended_long_ago_are_not_followed(database, paired, tickets):
    """The names of all past events would not fit into one message."""
    over, on = uuid.uuid4(), uuid.uuid4()
    await tickets[0].pages.put(page(over, valid_until_time=at(NOW - 8 * DAY), valid_from_time=at(NOW - 9 * DAY)))
    await tickets[0].pages.put(page(on, valid_until_time=at(NOW - 6 * DAY), valid_from_time=at(NOW - 7 * DAY)))
    await until(lambda: len(database.rows("feed_cursors")) == 2)
    await tickets[0].pages.put(None)
    await until(lambda: len(tickets[0].watched) > 1)
    assert dict(tickets[0].watched[-1].after_revisions) == {str(on): 1}
    # An event moved into the future is delivered from its beginning and followed again.
    moved = page(over, revision=2)
    moved.event.revision = 2
    await tickets[0].pages.put(moved)
    await until(lambda: {row["event_id"]: row["revision"] for row in database.rows("feed_cursors")}[over] == 2)
    await tickets[0].pages.put(None)
    await until(lambda: len(tickets[0].watched) > 2)
    assert dict(tickets[0].watched[-1].after_revisions) == {str(on): 1, str(over): 2}


async def test_an_older_state_never_replaces_a_newer_one(database, paired, tickets):
    event_id = uuid.uuid4()
    shown = database.unknown(event_id)
    put = tickets[0].pages.put
    await put(page(event_id, gate_ticket(shown, 5, BLOCKED), revision=5, name="New name", status=2))
    await put(page(event_id, gate_ticket(shown, 4), revision=6))
    await until(lambda: row_of(database, "feed_cursors").get("revision") == 6)
    assert row_of(database)["status"] == "BLOCKED"
    assert row_of(database, "events")["name"] == "New name"


async def test_a_new_epoch_restarts_and_keeps_check_ins(database, paired, tickets):
    event_id = uuid.uuid4()
    shown = database.unknown(event_id)
    await tickets[0].pages.put(page(event_id, gate_ticket(shown, 50), revision=50))
    await until(lambda: database.rows("tickets"))
    await paired.scan(event_id, shown.code)
    await tickets[0].pages.put(page(event_id, gate_ticket(shown, 2, BLOCKED), revision=2, epoch="b", name="Restored"))
    await until(lambda: row_of(database, "feed").get("epoch") == "b")
    ticket, event = row_of(database), row_of(database, "events")
    assert (ticket["status"], ticket["revision"], ticket["inside"], event["name"]) == ("BLOCKED", 2, True, "Restored")
    assert row_of(database, "feed_cursors")["revision"] == 2


async def test_the_feed_never_undoes_a_revocation(database, paired, tickets):
    event_id, revocation = uuid.uuid4(), revocation_service_pb2.Revocation
    cancelled, reissued = database.unknown(event_id), database.unknown(event_id)
    await paired.revocations.RevokeTickets(
        revocation_service_pb2.RevokeTicketsRequest(
            event_id=str(event_id),
            revocations=[
                revocation(revocation_id=str(uuid.uuid4()), ticket_id=str(t.ticket_id), status=status, issue=issue)
                for t, status, issue in ((cancelled, REFUNDED, 1), (reissued, ACTIVE, 2))
            ],
        ),
        metadata=paired.peer,
    )
    await tickets[0].pages.put(page(event_id, gate_ticket(cancelled, 8), gate_ticket(reissued, 9), revision=9))
    await until(lambda: database.rows("feed_cursors"))
    reasons = [(await paired.scan(event_id, ticket.token)).denial_reason for ticket in (cancelled, reissued)]
    assert reasons == [scan_pb2.DENIAL_REASON_REFUNDED, scan_pb2.DENIAL_REASON_SUPERSEDED]
    assert (await paired.scan(event_id, reissued.code)).denial_reason == scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND
    newest = CODES.code(reissued.ticket_id, 2)
    assert (await paired.scan(event_id, newest)).verdict == scan_pb2.VERDICT_ADMITTED


async def test_the_feed_never_reopens_a_closed_event(database, paired, tickets):
    event_id = uuid.uuid4()
    shown = database.unknown(event_id)
    await paired.revocations.RevokeEvent(
        revocation_service_pb2.RevokeEventRequest(event_id=str(event_id)), metadata=paired.peer
    )
    await tickets[0].pages.put(page(event_id, gate_ticket(shown)))
    await until(lambda: database.rows("tickets"))
    assert (row_of(database, "events")["name"], row_of(database, "events")["closed"]) == ("Concert", True)
    assert (await paired.scan(event_id, shown.token)).denial_reason == scan_pb2.DENIAL_REASON_EVENT_CANCELLED


async def test_an_unknown_key_is_fetched_in_the_background(database, paired, tickets):
    event_id = database.event()
    shown = database.unknown(event_id)
    shown = replace(shown, token=token_of(database.key, event_id, shown.ticket_id, key_id=2))
    first = await paired.scan(event_id, shown.token)
    assert first.denial_reason == scan_pb2.DENIAL_REASON_INVALID_SIGNATURE
    tickets[0].keys = [SigningKey(key_id=2, public_key=bytes(database.key.verify_key), activate_time=at(NOW - DAY))]
    # People show a ticket again; the service looks for keys once a second at most.
    while (await paired.scan(event_id, shown.token)).verdict != scan_pb2.VERDICT_ADMITTED:
        paired.clock.advance(timedelta(seconds=2))
    assert {row["key_id"] for row in database.rows("signing_keys")} == {1, 2}


async def test_gates_show_the_replica_lag_after_a_silent_feed(database, paired):
    event_id = database.event()
    await until(lambda: row_of(database, "feed")["whole_time"])
    opened = await Device(paired).open(event_id)
    assert opened.HasField("replica_lag")
    assert 0 <= opened.replica_lag.seconds < 10


async def test_check_ins_are_reported_until_they_are_confirmed(database, paired, tickets):
    event_id = database.event()
    shown = database.ticket(event_id)
    tickets[0].conflicts = [pb.CheckInConflict(event_id=str(event_id), ticket_id=str(shown.ticket_id))]
    scan = await paired.scan(event_id, shown.token)
    await until(lambda: row_of(database)["reported_sequence"] == 1)
    [reported] = tickets[0].reported
    assert (reported.ticket_id, reported.check_in_time, reported.sequence) == (str(shown.ticket_id), scan.scan_time, 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0, scan_pb2.INCIDENT_KIND_UNKNOWN_ADMISSION),
        (ticket_pb2.TICKET_STATUS_REFUNDED, scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION),
    ],
)
async def test_a_check_in_conflict_is_one_incident(database, paired, tickets, status, kind):
    event_id = database.event(admission_policy="RE_ENTRY")
    shown = database.unknown(event_id)
    tickets[0].conflicts = [
        pb.CheckInConflict(event_id=str(event_id), ticket_id=str(ticket_id), status=status)
        for ticket_id in (shown.ticket_id, uuid.uuid4())
    ]
    came = await paired.scan(event_id, shown.token)
    await until(lambda: row_of(database)["reported_sequence"] == 1)
    await paired.scan(event_id, shown.token, scan_type=scan_pb2.SCAN_TYPE_CHECK_OUT)
    # The next report returns the conflict again.
    other = database.ticket(event_id)
    await paired.scan(event_id, other.token)
    await until(lambda: {row["reported_sequence"] for row in database.rows("tickets")} == {1})
    request = scans_pb.ListIncidentsRequest(event_id=str(event_id))
    [incident] = (await paired.scans.ListIncidents(request, metadata=paired.scanner)).incidents
    assert (incident.kind, [scan.scan_id for scan in incident.scans]) == (kind, [came.scan_id])


@pytest.mark.parametrize("hour", [None, 0, 6])
async def test_the_feed_carries_the_days_of_an_event(database, paired, tickets, hour):
    values = {"admission_policy": event_pb2.ADMISSION_POLICY_ONCE_PER_DAY, "time_zone": "Europe/Berlin"}
    await tickets[0].pages.put(page(uuid.uuid4(), **values, day_change_hour=hour))
    await until(lambda: database.rows("events"))
    event = row_of(database, "events")
    stored = (event["admission_policy"], event["time_zone"], event["day_change_hour"])
    assert stored == ("ONCE_PER_DAY", "Europe/Berlin", hour)


async def test_an_event_of_an_earlier_ticket_service_has_no_days(database, paired, tickets):
    await tickets[0].pages.put(page(uuid.uuid4()))
    await until(lambda: database.rows("events"))
    event = row_of(database, "events")
    assert (event["time_zone"], event["day_change_hour"]) == ("UTC", None)


async def test_unknown_values_of_the_feed_deny(database, paired, tickets):
    event_id = uuid.uuid4()
    shown = database.unknown(event_id)
    await tickets[0].pages.put(page(event_id, gate_ticket(shown, status=99), status=99, admission_policy=99))
    await until(lambda: database.rows("tickets"))
    event = row_of(database, "events")
    assert (row_of(database)["status"], event["status"], event["admission_policy"]) == (
        "BLOCKED",
        "COMPLETED",
        "SINGLE_ENTRY",
    )


async def test_the_purchases_of_a_group_come_with_a_new_epoch_and_stay(database, paired, tickets):
    """The ticket service of the version before sends no purchases; the epoch of the next version differs."""
    event_id, purchase_id = uuid.uuid4(), uuid.uuid4()
    shown = database.unknown(event_id)
    await tickets[0].pages.put(page(event_id, gate_ticket(shown)))
    await until(lambda: row_of(database).get("purchase_id", purchase_id) is None)
    with_purchase = gate_ticket(shown, purchase_id=str(purchase_id))
    await tickets[0].pages.put(page(event_id, with_purchase, epoch="a.2"))
    await until(lambda: row_of(database)["purchase_id"] == purchase_id)
    # While processes of both versions run, the feed may come from the earlier one again.
    await tickets[0].pages.put(page(event_id, gate_ticket(shown, status=BLOCKED)))
    await until(lambda: row_of(database)["status"] == "BLOCKED")
    assert row_of(database)["purchase_id"] == purchase_id
