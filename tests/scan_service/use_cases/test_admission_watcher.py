"""Tests of WatchAdmissions: a device receives every change that it needs to decide offline."""

import asyncio
import random
import uuid
from datetime import UTC, timedelta

import grpc
import pytest
import sqlalchemy as sa

from scan_service.domain.changes import Cursor, read_cursor
from scan_service.store.changes import read_changes
from tests.environment.refusals import refusal
from tests.environment.streams import next_message
from tests.scanning.gates import ScansDatabase, Service
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2

OUT = scan_pb2.SCAN_TYPE_CHECK_OUT


class Watcher:
    """A device replica, updated as the contract says."""

    def __init__(self, service: Service, event_id: uuid.UUID) -> None:
        self._service = service
        self.event_id = event_id
        self.rules = pb.GateRules()
        self.tickets: dict[bytes, pb.TicketAdmission] = {}
        self.cursor = ""
        self.restarts = 0

    def connect(self, metadata=None) -> None:
        request = pb.WatchAdmissionsRequest(event_id=str(self.event_id), after_cursor=self.cursor)
        self.call = self._service.scans.WatchAdmissions(request, metadata=metadata or self._service.scanner)

    async def follow(self) -> pb.WatchAdmissionsResponse:
        async with asyncio.timeout(20):
            message = await next_message(self.call)
        if message.restart:
            self.restarts += 1
            self.tickets.clear()
        if message.HasField("rules"):
            self.rules = message.rules
        self.tickets.update({ticket.ticket_id: ticket for ticket in message.tickets})
        self.cursor = message.cursor or message.page_cursor
        return message


@pytest.fixture
def event_id(database) -> uuid.UUID:
    return database.event(admission_policy="RE_ENTRY")


@pytest.fixture
async def watcher(service, event_id) -> Watcher:
    made = Watcher(service, event_id)
    made.connect()
    return made


async def test_a_watch_begins_with_the_rules_and_every_ticket(database: ScansDatabase, service, event_id):
    shown = [database.ticket(event_id, status=status) for status in ("ACTIVE", "BLOCKED")]
    scan = await service.scan(event_id, shown[0].token)
    database.ticket(database.event())
    watcher = Watcher(service, event_id)
    watcher.connect()
    message = await watcher.follow()
    assert message.restart
    rules = message.rules
    assert (rules.event_name, rules.status) == ("Concert", event_pb2.EVENT_STATUS_PUBLISHED)
    assert rules.admission_policy == event_pb2.ADMISSION_POLICY_RE_ENTRY
    assert [key.public_key for key in rules.signing_keys] == [bytes(database.key.verify_key)]
    assert set(watcher.tickets) == {one.ticket_id.bytes for one in shown}
    came, blocked = (watcher.tickets[one.ticket_id.bytes] for one in shown)
    assert (came.inside, came.issue, came.check_in.scan_id) == (True, 1, scan.scan_id)
    assert came.denial_reason == scan_pb2.DENIAL_REASON_UNSPECIFIED
    assert blocked.denial_reason == scan_pb2.DENIAL_REASON_BLOCKED
    assert not blocked.HasField("check_in")


async def test_a_watch_contains_no_credential(database, watcher, event_id):
    shown = database.ticket(event_id)
    message = str(await watcher.follow()) + str(watcher.tickets)
    assert shown.code not in message
    assert shown.token not in message


async def test_scans_and_annulments_are_sent_as_they_happen(database, service, watcher, event_id):
    await watcher.follow()
    shown = database.ticket(event_id)
    for kind, inside in ((scan_pb2.SCAN_TYPE_CHECK_IN, True), (OUT, False)):
        scan = await service.scan(event_id, shown.token, scan_type=kind)
        while not (known := watcher.tickets.get(shown.ticket_id.bytes)) or known.inside != inside:
            await watcher.follow()
    await service.scans.AnnulScan(pb.AnnulScanRequest(scan_id=scan.scan_id), metadata=service.scanner)
    while not watcher.tickets[shown.ticket_id.bytes].inside:
        await watcher.follow()
    assert watcher.restarts == 1


async def test_changed_rules_are_sent(database, watcher):
    await watcher.follow()
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE events SET closed = true")
    message = await watcher.follow()
    assert message.rules.status == event_pb2.EVENT_STATUS_CANCELLED
    assert not message.tickets


async def test_a_watch_resumes_at_its_cursor(database, service, watcher, event_id):
    before, between = database.ticket(event_id), database.ticket(event_id)
    while len(watcher.tickets) < 2:
        await watcher.follow()
    watcher.call.cancel()
    scan = await service.scan(event_id, between.token)
    watcher.connect()
    message = await watcher.follow()
    assert not message.restart
    assert message.HasField("rules")
    assert watcher.tickets[between.ticket_id.bytes].check_in.scan_id == scan.scan_id
    assert not watcher.tickets[before.ticket_id.bytes].inside


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "x:1",
        "x:1:1:x",
        f"{uuid.UUID(int=0)}:1:1",
        f"{uuid.UUID(int=0)}:1",
        f"{uuid.UUID(int=0)}:-1",
        ":",
        "\u0663",
        "1" * 1000,
    ],
)
async def test_a_malformed_cursor_restarts_the_watch(database, service, event_id, cursor):
    database.ticket(event_id)
    watcher = Watcher(service, event_id)
    watcher.cursor = cursor
    watcher.connect()
    message = await watcher.follow()
    assert (message.restart, len(message.tickets)) == (True, 1)


async def test_a_cursor_of_another_epoch_or_the_future_restarts(database, service, watcher, event_id):
    await watcher.follow()
    cursor = read_cursor(watcher.cursor)
    assert cursor is not None
    future = [Cursor(cursor.epoch, 2**62), Cursor(cursor.epoch, 0, (2**62, uuid.uuid4()))]
    for unknown in (Cursor(uuid.uuid4(), 0), *future):
        other = Watcher(service, event_id)
        other.cursor = str(unknown)
        other.connect()
        assert (await other.follow()).restart


def insert_tickets(database: ScansDatabase, event_id: uuid.UUID, count: int) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO tickets (event_id, ticket_id, known, ticket_type, status, issue, code_digest, generation,"
            " revision, inside, sequence, reported_sequence)"
            f" SELECT '{event_id}', gen_random_uuid(), true, 'VIP', 'ACTIVE', 1, '', 0, 1, false, 0, 0"
            f" FROM generate_series(1, {count})"
        )


async def test_only_the_last_of_several_pages_has_a_cursor(database, service, event_id):
    insert_tickets(database, event_id, 2500)
    watcher = Watcher(service, event_id)
    watcher.connect()
    messages = [await watcher.follow() for _ in range(3)]
    assert [len(message.tickets) for message in messages] == [1000, 1000, 500]
    assert [message.restart for message in messages] == [True, False, False]
    assert [bool(message.cursor) for message in messages] == [False, False, True]
    assert [bool(message.page_cursor) for message in messages] == [True, True, False]
    assert len(watcher.tickets) == 2500


async def test_a_watch_resumes_between_two_pages(database, service, event_id, monkeypatch):
    monkeypatch.setattr("scan_service.store.changes.MAX_ROWS", 10)
    insert_tickets(database, event_id, 95)
    watcher = Watcher(service, event_id)
    shown = [database.ticket(event_id) for _ in range(5)]
    # Every connection carries one page, and tickets of all pages change meanwhile.
    for round_number in range(10):
        watcher.connect()
        message = await watcher.follow()
        assert (message.restart, message.HasField("rules")) == (round_number == 0, True)
        watcher.call.cancel()
        if round_number % 2:
            await service.scan(event_id, shown[round_number // 2].token)
    watcher.connect()
    while not message.cursor or len(watcher.tickets) < 100:
        message = await watcher.follow()
    await watcher.follow()
    assert all(watcher.tickets[one.ticket_id.bytes].inside for one in shown)
    assert watcher.restarts == 1


async def test_an_unchanged_event_is_confirmed_with_the_time(service, watcher, monkeypatch):
    await watcher.follow()
    monkeypatch.setattr("scan_service.use_cases.admission_watcher.HEARTBEAT_SECONDS", 0.1)
    message = await watcher.follow()
    assert (len(message.tickets), message.HasField("rules"), bool(message.cursor)) == (0, False, True)
    assert message.server_time.ToDatetime(tzinfo=UTC) <= service.clock()


async def test_a_change_that_commits_after_a_later_one_is_not_skipped(database, service, watcher, event_id):
    slow, quick = database.ticket(event_id), database.ticket(event_id)
    while len(watcher.tickets) < 2:
        await watcher.follow()
    with database.engine.begin() as connection:
        connection.execute(
            sa.text(
                "UPDATE tickets SET issue = 9, changed_by = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
                " WHERE ticket_id = :ticket_id"
            ),
            {"ticket_id": slow.ticket_id},
        )
        # A later transaction commits first and is sent.
        await service.scan(event_id, quick.token)
        while not watcher.tickets[quick.ticket_id.bytes].inside:
            await watcher.follow()
        assert watcher.tickets[slow.ticket_id.bytes].issue == 1
    while watcher.tickets[slow.ticket_id.bytes].issue == 1:
        await watcher.follow()


@pytest.mark.slow
async def test_no_change_is_skipped_among_concurrent_writers(database, service, event_id):
    """A reader that follows the cursor over long transactions and rollbacks ends with the present state."""
    chance = random.Random(20260704)
    shown = [database.ticket(event_id) for _ in range(30)]
    seen: dict[uuid.UUID, object] = {}
    cursor = None

    async def gate() -> None:
        for _ in range(40):
            kind = chance.choice((scan_pb2.SCAN_TYPE_CHECK_IN, OUT))
            await service.scan(event_id, chance.choice(shown).token, scan_type=kind)

    async def organizer() -> None:
        update = sa.text(
            "UPDATE tickets SET issue = issue + 1, changed_by = CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
            " WHERE ticket_id = :ticket_id"
        )
        for _ in range(15):
            connection = await asyncio.to_thread(database.engine.connect)
            await asyncio.to_thread(connection.execute, update, {"ticket_id": database.ticket(event_id).ticket_id})
            # This thread keeps its transaction open during others, on a ticket of its own.
            await asyncio.sleep(chance.random() / 50)
            await asyncio.to_thread(connection.commit if chance.random() < 0.8 else connection.rollback)
            await asyncio.to_thread(connection.close)

    def look() -> None:
        nonlocal cursor
        with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            changes = read_changes(connection, event_id, cursor)
        assert changes is not None
        assert cursor is None or not changes.restart
        seen.update({ticket.ticket_id: ticket for ticket, _ in changes.tickets})
        cursor = changes.cursor

    writers = asyncio.gather(gate(), gate(), gate(), organizer(), organizer())
    while not writers.done():
        await asyncio.to_thread(look)
    await writers
    look()
    last, cursor = dict(seen), None
    seen.clear()
    look()
    assert last == seen
    assert len(seen) == 60


async def test_watches_end_with_service_and_credential(database, service, watcher, issuer):
    await watcher.follow()
    ending = Watcher(service, watcher.event_id)
    ending.connect(issuer.metadata("scanner", exp=service.clock() + timedelta(seconds=60)))
    await ending.follow()
    foreign = Watcher(service, watcher.event_id)
    foreign.connect(issuer.metadata("organizer", "other"))
    nowhere = Watcher(service, uuid.uuid4())
    nowhere.connect()
    for refused in (foreign, nowhere):
        assert (await refusal(refused.follow())).reason == "EVENT_NOT_FOUND"
    call = service.scans.WatchAdmissions(pb.WatchAdmissionsRequest(event_id="x"), metadata=service.scanner)
    assert (await refusal(call.read())).fields == {"event_id"}
    service.clock.advance(timedelta(minutes=2))
    assert (await refusal(ending.follow())).reason == "UNAUTHENTICATED"
    stopping = asyncio.create_task(service.app.stop())
    assert await watcher.call.read() is grpc.aio.EOF
    await stopping
