"""The keys and the statements of the hot paths against the distribution of both databases by event (docs/scaling.md)."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from scan_service.store.tables import metadata as scans_metadata
from tests.contract.distribution import EVENT, FOLDER, Distribution, read_distribution, tables_without_event
from tests.contract.matrix_world import World
from tests.environment.access import PEER_METADATA
from tests.scanning.uploads import decided
from tests.selling.shop import Shop, money, new_id
from ticket_service.store.tables import metadata as tickets_metadata
from ticketing.chassis.logs import REQUEST_ID
from ticketing.chassis.loop_connection import LoopConnection
from ticketing.scans.v1 import revocation_service_pb2, scan_service_pb2
from ticketing.scans.v1.revocation_service_pb2_grpc import RevocationServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub
from ticketing.tickets.v1 import ticket_feed_service_pb2, ticket_pb2
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub

TICKETS, SCANS = read_distribution(FOLDER / "tickets.sql"), read_distribution(FOLDER / "scans.sql")
DATABASES = [(TICKETS, tickets_metadata), (SCANS, scans_metadata)]
# Migrations and their history are no concern of a distribution.
LOCAL: frozenset[str] = frozenset()

# The parts of hot paths that cannot name the event, by call and table, and their reasons.
WITHOUT_EVENT = {
    # The scanned text is a typed code: only its row says of which ticket and event it is. It needs a fan-out to all
    # nodes, or a table of code digests with its own distribution. Scans of tokens pass an empty list.
    ("scan", "tickets"): "look-up by code",
    # A scan_id identifies a repetition at any gate of any event. It needs a fan-out, or the gate's event in the request.
    ("scan", "scans"): "look-up by scan_id",
    ("upload", "tickets"): "look-up by code",
    ("upload", "scans"): "look-up by scan_id",
    # The poller of the feed reads the heads of all events that have not ended, ten times a second. It needs a fan-out.
    ("feed", "events"): "heads of all events",
}
# The tables that a purchase reads and writes and that have another distribution column, so that the purchase changes
# two or three nodes: a two-phase commit.
OTHER_COLUMN = {
    # A payment pays one purchase of any event.
    "payments": "payment_id",
    # The same request_id with another event is refused.
    "idempotency_keys": "request_id",
    # A table of the relay, which has only the id.
    "notifications": "notification_id",
}


def _keys(table: sa.Table) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the columns of the primary key and of each unique constraint and index."""
    yield "primary key", [column.name for column in table.primary_key.columns]
    for constraint in table.constraints:
        if isinstance(constraint, sa.UniqueConstraint):
            yield str(constraint.name), [column.name for column in constraint.columns]
    for index in table.indexes:
        if index.unique:
            yield str(index.name), [column.name for column in index.columns]


@pytest.mark.parametrize(("distribution", "metadata"), DATABASES, ids=["tickets", "scans"])
def test_each_table_is_distributed_once(distribution: Distribution, metadata: sa.MetaData) -> None:
    assert sorted(distribution.order) == sorted(metadata.tables.keys() - LOCAL), "add the table to deploy/citus"
    assert distribution.references | distribution.columns.keys() == set(distribution.order)


@pytest.mark.parametrize(("distribution", "metadata"), DATABASES, ids=["tickets", "scans"])
def test_unique_keys_contain_the_distribution_column(distribution: Distribution, metadata: sa.MetaData) -> None:
    faults = [
        f"{table}: {name} lacks {column}"
        for table, (column, _) in distribution.columns.items()
        for name, columns in _keys(metadata.tables[table])
        if column not in columns
    ]
    assert faults == []


@pytest.mark.parametrize(("distribution", "metadata"), DATABASES, ids=["tickets", "scans"])
def test_primary_keys_of_events_rows_begin_with_the_event(distribution: Distribution, metadata: sa.MetaData) -> None:
    assert [
        table for table in distribution.by_event if next(iter(metadata.tables[table].primary_key.columns)).name != EVENT
    ] == []
    others = {table: column for table, (column, _) in distribution.columns.items() if column != EVENT}
    assert others.items() <= OTHER_COLUMN.items()


@pytest.mark.parametrize(("distribution", "metadata"), DATABASES, ids=["tickets", "scans"])
def test_foreign_keys_stay_on_one_node_and_follow_their_table(
    distribution: Distribution, metadata: sa.MetaData
) -> None:
    for name, (column, colocated) in distribution.columns.items():
        assert colocated in {"none", *distribution.order[: distribution.order.index(name)]}
        for key in metadata.tables[name].foreign_key_constraints:
            referred = key.referred_table.name
            assert distribution.order.index(referred) < distribution.order.index(name)
            assert referred in distribution.references or (
                column in key.column_keys and distribution.columns[referred][0] == column
            )


class Sent:
    """The statements that the services have sent, by call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prepared: dict[LoopConnection, dict[str, str]] = {}
        self.by_call: dict[str, set[str]] = defaultdict(set)
        self.call = ""
        construct, send = LoopConnection.__init__, LoopConnection.round_trip

        def keep(connection: LoopConnection, url: Any, name: str, statements: Any, *more: Any) -> None:
            self.prepared[connection] = dict(statements)
            construct(connection, url, name, statements, *more)

        async def note(connection: LoopConnection, statements: str, arguments: Any = ()) -> Any:
            for name in re.findall(r"EXECUTE (\w+)", statements):
                self.by_call[self.call].add(self.prepared[connection][name])
            return await send(connection, statements, arguments)

        monkeypatch.setattr(LoopConnection, "__init__", keep)
        monkeypatch.setattr(LoopConnection, "round_trip", note)

    def note(self, _connection: object, _cursor: object, statement: str, *_more: object) -> None:
        """Note a statement of a pool, if it belongs to a call of the test and not to a background task."""
        if self.call and REQUEST_ID.get() == self.call:
            self.by_call[self.call].add(statement)

    def begin(self, call: str) -> tuple[tuple[str, str], ...]:
        """Begin a call; return its metadata."""
        self.call = call
        return (("x-request-id", call),)


@pytest.fixture
async def sent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sent]:
    made = Sent(monkeypatch)
    sa.event.listen(sa.Engine, "before_cursor_execute", made.note)
    yield made
    sa.event.remove(sa.Engine, "before_cursor_execute", made.note)


async def test_statements_of_the_hot_paths_name_the_event(sent: Sent, world: World) -> None:
    event = await world.shop.on_sale(ticket_price=money(2_500))
    sent.begin("purchase")
    await world.shop.buy(
        event.event_id, Shop.BACKEND, external_payment_id=new_id(), expected_total=money(2_500), user_id="bob"
    )
    held = await world.shop.buy(event.event_id)
    assert (await world.shop.buy(event.event_id)).purchase_id == held.purchase_id

    stub = TicketFeedServiceStub(world.tickets)
    request = ticket_feed_service_pb2.WatchTicketsRequest(max_events=8)
    watch: Any = stub.WatchTickets(request, metadata=(*PEER_METADATA, *sent.begin("feed")))
    assert (await watch.read()).ByteSize()
    watch.cancel()

    shown = await world.shown("own")
    gate = await world.gate("own")
    stream: Any = ScanServiceStub(world.scans).StreamScans(
        metadata=(*world.issuer.metadata("scanner", "sam"), *sent.begin("scan"))
    )
    await stream.write(scan_service_pb2.StreamScansRequest(open=gate))
    assert (await stream.read()).HasField("opened")
    for code in (shown.token, shown.code):
        attempt = scan_service_pb2.ScanAttempt(scan_id=new_id(), code=code)
        await stream.write(scan_service_pb2.StreamScansRequest(scan=attempt))
        assert (await stream.read()).HasField("result")
    sent.begin("upload")
    upload = scan_service_pb2.Upload(scans=[decided(shown.token, gate=gate)])
    await stream.write(scan_service_pb2.StreamScansRequest(upload=upload))
    assert (await stream.read()).HasField("uploaded")
    stream.cancel()

    revocation = revocation_service_pb2.Revocation(
        revocation_id=new_id(),
        ticket_id=str(world.copy.ticket(shown.event_id).ticket_id),
        status=ticket_pb2.TICKET_STATUS_CANCELLED,
        issue=1,
    )
    revoke = revocation_service_pb2.RevokeTicketsRequest(event_id=str(shown.event_id), revocations=[revocation])
    metadata = (*PEER_METADATA, *sent.begin("revocation"))
    assert (await RevocationServiceStub(world.scans).RevokeTickets(revoke, metadata=metadata)).outcomes[0].revoked

    found = {
        (call, table)
        for call, statements in sent.by_call.items()
        for statement in statements
        for table in tables_without_event(statement, (TICKETS if call in {"purchase", "feed"} else SCANS).by_event)
    }
    assert {call: bool(statements) for call, statements in sent.by_call.items() if call} == dict.fromkeys(
        ["purchase", "feed", "scan", "upload", "revocation"], True
    )
    assert found == WITHOUT_EVENT.keys()


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("SELECT * FROM tickets WHERE ticket_id = $1", {"tickets"}),
        ("SELECT * FROM tickets WHERE event_id = $1 AND ticket_id = $2", set()),
        ("SELECT * FROM tickets t JOIN events e USING (event_id) WHERE e.status = 'DRAFT'", set()),
        ("SELECT * FROM tickets t JOIN events e ON e.name = t.code WHERE e.event_id = $1", {"tickets"}),
        ("UPDATE tickets SET status = 'X' WHERE ticket_id = ANY ($1)", {"tickets"}),
        ("WITH a AS (DELETE FROM events WHERE name = '') SELECT * FROM a", {"events"}),
        ("INSERT INTO events (name) VALUES ('a')", {"events"}),
    ],
)
def test_a_statement_without_the_event_is_found(statement: str, tables: set[str]) -> None:
    assert tables_without_event(statement, frozenset({"tickets", "events"})) == tables
