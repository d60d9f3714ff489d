"""Tests of rows that another session locks: scans and revocations of other rows are answered, and nothing is lost."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import grpc
import grpc.aio
import pytest
import sqlalchemy as sa
from nacl.signing import SigningKey
from prometheus_client import REGISTRY

from scan_service import app
from scan_service.store.tables import events, incidents, tickets
from scan_service.use_cases import locked_events
from scan_service.use_cases.locked_events import LockedEvents
from tests.environment.refusals import Refusal, refusal, refusal_of
from tests.environment.waiting import until
from tests.scanning.gates import Device, ScansDatabase, Service, token_of
from tests.scanning.groups import make_group
from tests.scanning.uploads import decided
from ticketing.chassis.locked_events import COUNTED_SECONDS
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import revocation_service_pb2 as revocations_pb
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_pb2

ADMITTED = scan_pb2.VERDICT_ADMITTED
OVERLOADED = error_reason_pb2.ERROR_REASON_OVERLOADED
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture(autouse=True)
def short_lock_waits(long_lock_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for row locks hardly at all."""
    for limits in (app.SCAN_LOCK_MILLISECONDS, app.LOCK_MILLISECONDS):
        monkeypatch.setitem(limits, "lock_timeout", 200)


@contextmanager
def locked(database: ScansDatabase, query: "sa.Select[tuple[object]]") -> Iterator[sa.Connection]:
    """Lock the rows of a query in a session of its own."""
    with database.engine.begin() as connection:
        assert connection.execute(query.with_for_update()).all()
        yield connection


def event_row(event_id: uuid.UUID) -> "sa.Select[tuple[object]]":
    return sa.select(events.c.name).where(events.c.event_id == event_id)


def ticket_row(*ticket_ids: uuid.UUID) -> "sa.Select[tuple[object]]":
    return sa.select(tickets.c.status).where(tickets.c.ticket_id.in_(ticket_ids))


async def try_to_scan(service: Service, event_id: uuid.UUID, code: str, **values) -> scan_pb2.Scan | Refusal:
    try:
        return await service.scan(event_id, code, **values)
    except grpc.aio.AioRpcError as error:
        return refusal_of(error)


def refused(answers) -> list[bool]:
    """Return for each answer whether it is OVERLOADED; the others must be admissions."""
    for answer in answers:
        assert answer.reason == "OVERLOADED" if isinstance(answer, Refusal) else answer.verdict == ADMITTED
    return [isinstance(answer, Refusal) for answer in answers]


async def test_a_locked_event_does_not_delay_scans_of_others(database, service, caplog):
    x, y = database.event(), database.event()
    shown = [database.ticket(event_id) for _ in range(6) for event_id in (x, y)]
    asked = [str(uuid.uuid4()) for _ in shown]

    async def scan_all() -> list[scan_pb2.Scan | Refusal]:
        return await asyncio.gather(
            *(
                try_to_scan(service, ticket.event_id, ticket.token, scan_id=scan_id)
                for ticket, scan_id in zip(shown, asked, strict=True)
            )
        )

    with locked(database, event_row(x)):
        for _ in range(3):
            assert refused(await scan_all()) == [True, False] * 6
        [line] = [record for record in caplog.records if record.name == locked_events.__name__]
        assert line.event_ids == [str(x)]
        failed = await refusal(service.scan(x, shown[0].token))
        assert (failed.code, failed.retry_seconds) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.5)
        assert [row["event_id"] for row in database.rows("scans")] == [y] * 6
    # The first scans after the unlock are admitted, once each.
    assert refused(await scan_all()) == [False] * 12
    assert len(database.rows("scans")) == 12


async def test_only_the_first_scans_wait_for_a_locked_event(database, service):
    x, y = database.event(), database.event()
    with locked(database, event_row(x)):
        await try_to_scan(service, x, "nothing")
        scans = [try_to_scan(service, event_id, "nothing") for _ in range(5) for event_id in (x, y)]
        waiting = asyncio.gather(*scans)
        while not waiting.done():
            assert database.value(WAITS) == 0
            await asyncio.sleep(0)
        await waiting


async def test_a_locked_ticket_is_refused_by_token_code_and_group_alone(database, service):
    event_id = database.event()
    alone, free = database.ticket(event_id), database.ticket(event_id)
    of_group = make_group(database, event_id, 2).tickets
    with locked(database, ticket_row(alone.ticket_id, of_group[1].ticket_id)):
        for _ in range(2):
            answers = [
                *(await asyncio.gather(*(try_to_scan(service, event_id, code) for code in (alone.token, alone.code)))),
                await try_to_scan(service, event_id, of_group[0].token, group_count=2),
            ]
            assert refused(answers) == [True] * 3
        assert refused([await try_to_scan(service, event_id, free.code)]) == [False]
        # A ticket without a row is inserted from its token meanwhile.
        unknown = database.unknown(event_id)
        assert refused([await try_to_scan(service, event_id, unknown.token)]) == [False]
    answers = [
        await try_to_scan(service, event_id, alone.token),
        await try_to_scan(service, event_id, of_group[0].token, group_count=2),
    ]
    assert refused(answers) == [False, False]


async def test_many_locked_tickets_cause_one_wait(database, service, caplog):
    event_id = database.event()
    shown = [database.ticket(event_id) for _ in range(5)]
    with locked(database, ticket_row(*(ticket.ticket_id for ticket in shown))):
        answers = [await try_to_scan(service, event_id, ticket.token) for ticket in shown]
        assert refused(answers) == [True] * 5
        assert caplog.text.count("rows are locked by another session") == 1


async def test_an_insert_that_waits_refuses_its_own_scan_alone(database, service):
    event_id = database.event()
    free, forged = database.ticket(event_id), token_of(SigningKey.generate(), event_id, uuid.uuid4())
    await service.scan(event_id, forged)
    await service.scan(event_id, forged)
    [row] = database.rows("incidents")
    database.update(incidents, kind="CODE_GUESSING")
    device = Device(service)
    await device.open(event_id)
    with database.engine.begin() as connection:
        connection.execute(incidents.insert().values(**row | {"incident_id": uuid.uuid4()}))
        # Both scans are in one batch.
        await device.send(upload=pb.Upload(scans=[decided(free.token), decided(forged)]))
        uploaded = (await device.receive()).uploaded
        assert (len(uploaded.results), [one.reason for one in uploaded.rejected]) == (1, [OVERLOADED])


async def test_a_stream_answers_a_locked_scan_with_a_retry_time(database, service):
    event_id = database.event()
    first, second = database.ticket(event_id), database.ticket(event_id)
    device = Device(service)
    await device.open(event_id)
    with locked(database, ticket_row(first.ticket_id)):
        scan_id = str(uuid.uuid4())
        await device.ask(first.token, scan_id)
        rejected = (await device.receive()).rejected
        assert (rejected.scan_id, rejected.reason) == (scan_id, OVERLOADED)
        assert rejected.retry_after.ToTimedelta() == timedelta(seconds=0.5)
        assert (await device.scan(second.token)).verdict == ADMITTED
    assert (await device.scan(first.token, scan_id)).verdict == ADMITTED


async def test_an_upload_records_all_but_the_locked_scans(database, service):
    x, y = database.event(), database.event()
    locked_one, free = database.ticket(x), database.ticket(x)
    device, other = Device(service), Device(service)
    await device.open(x)
    await other.open(y)
    upload = pb.Upload(scans=[decided(locked_one.token), decided(free.token)])
    with locked(database, ticket_row(locked_one.ticket_id)):
        await device.send(upload=upload)
        uploaded = (await device.receive()).uploaded
        assert [rejected.reason for rejected in uploaded.rejected] == [OVERLOADED]
        assert [scan.scan_id for scan in uploaded.results] == [upload.scans[1].scan_id]
        await other.send(upload=pb.Upload(scans=[decided(database.ticket(y).token)]))
        assert len((await other.receive()).uploaded.results) == 1
    await device.send(upload=upload)
    assert len((await device.receive()).uploaded.results) == 2


def revocation(ticket) -> revocations_pb.Revocation:
    return revocations_pb.Revocation(
        revocation_id=str(uuid.uuid4()),
        ticket_id=str(ticket.ticket_id),
        status=ticket_pb2.TICKET_STATUS_REFUNDED,
        issue=1,
    )


async def test_a_locked_ticket_delays_its_own_revocation_alone(database, service):
    event_id = database.event()
    shown = [database.ticket(event_id), database.ticket(event_id), database.unknown(event_id)]
    request = revocations_pb.RevokeTicketsRequest(
        event_id=str(event_id), revocations=map(revocation, shown), skip_locked=True
    )
    with locked(database, ticket_row(shown[0].ticket_id)):
        outcomes = (await service.revocations.RevokeTickets(request, metadata=service.peer)).outcomes
        assert [outcome.ticket_id for outcome in outcomes] == [str(ticket.ticket_id) for ticket in shown]
        assert [(outcome.undecided, outcome.revoked) for outcome in outcomes] == [
            (True, False),
            (False, True),
            (False, True),
        ]
        # A caller of the version before does not know undecided outcomes.
        request.skip_locked = False
        failed = await refusal(service.revocations.RevokeTickets(request, metadata=service.peer))
        assert (failed.reason, failed.retry_seconds) == ("OVERLOADED", 1)
    outcomes = (await service.revocations.RevokeTickets(request, metadata=service.peer)).outcomes
    assert [outcome.revoked for outcome in outcomes] == [True] * 3
    assert len(database.rows("revocations")) == 3


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a row lock until the test releases it."""
    monkeypatch.setitem(app.LOCK_MILLISECONDS, "lock_timeout", 20_000)


@pytest.mark.usefixtures("patient")
async def test_revocations_of_locked_rows_leave_calls_their_connections(database, service):
    x, y = database.event(), database.event()
    request = revocations_pb.RevokeEventRequest(event_id=str(x))
    with locked(database, event_row(x)):
        closing = [
            asyncio.ensure_future(service.revocations.RevokeEvent(request, metadata=service.peer))
            for _ in range(app.REVOCATION_THREADS)
        ]
        await until(lambda: database.value(WAITS), app.REVOCATION_THREADS)
        # The devices and gates of all events have other connections.
        assert (await Device(service).open(y)).event_name == "Concert"
    for call in closing:
        assert (await call).checked_in == 0


async def test_the_revocation_of_a_locked_event_is_overloaded(database, service):
    x = database.event()
    request = revocations_pb.RevokeEventRequest(event_id=str(x))
    with locked(database, event_row(x)):
        failed = await refusal(service.revocations.RevokeEvent(request, metadata=service.peer))
    assert (failed.reason, failed.retry_seconds) == ("OVERLOADED", 1)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_event_stays_locked_until_it_was_free_for_a_while(caplog):
    caplog.set_level("INFO")
    clock, x, y = Clock(), uuid.uuid4(), uuid.uuid4()
    known = LockedEvents("test", clock)
    known.note([x, y], [x])
    assert (known.covers([x]), known.covers([x, y])) == (True, False)
    clock.now += locked_events.MIN_SECONDS
    known.note([x], [x])
    clock.now += locked_events.MIN_SECONDS - 0.1
    known.note([x], [])
    assert known.covers([x])
    # The time alone ends nothing: nobody has tried.
    clock.now += 60
    known.note([y], [])
    assert known.covers([x])
    known.note([x], [])
    assert not known.covers([x])
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_an_event_without_scans_leaves_the_metric():
    clock, x = Clock(), uuid.uuid4()
    LockedEvents("metric", clock).note([x], [x])

    def count() -> float | None:
        return REGISTRY.get_sample_value("locked_events", {"batcher": "metric"})

    assert count() == 1
    clock.now += COUNTED_SECONDS
    assert count() == 0
