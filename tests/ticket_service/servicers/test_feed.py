import asyncio
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection

from tests.environment.access import PEER_METADATA
from tests.environment.messages import at
from tests.environment.refusals import fields_at_fault, refusal
from tests.environment.waiting import until
from tests.selling.rows import row, sell, sold
from ticket_service.app import App
from ticket_service.delivery.store.dispatch import Route, dispatch
from ticket_service.domain.events import AdmissionPolicy, Event, Offer, TicketType
from ticket_service.domain.notifications import Kind
from ticket_service.store.tables import deliveries, events, outbox, tickets
from ticketing.chassis.connections import connect
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id
from ticketing.chassis.peer_client import CALL_SECONDS
from ticketing.tickets.v1 import event_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1.ticket_feed_service_pb2_grpc import TicketFeedServiceStub


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> TicketFeedServiceStub:
    return TicketFeedServiceStub(channel)


async def outbox_rows(database: Database) -> list[sa.Row[Any]]:
    query = sa.select(outbox).order_by(outbox.c.position)
    return await database.run(lambda connection: list(connection.execute(query)))


@pytest.mark.parametrize("hour", [None, 0, 6])
async def test_the_feed_has_the_days_of_an_event(stub, database, clock, hour):
    policy = AdmissionPolicy.ONCE_PER_DAY
    await sold(database, clock, admission_policy=policy, time_zone="Europe/Paris", day_change_hour=hour)
    stream = stub.WatchTickets(pb.WatchTicketsRequest(), metadata=PEER_METADATA)
    event = (await stream.read()).event
    stream.cancel()
    assert (event.admission_policy, event.time_zone) == (event_pb2.ADMISSION_POLICY_ONCE_PER_DAY, "Europe/Paris")
    assert (event.day_change_hour if event.HasField("day_change_hour") else None) == hour


async def test_the_feed_has_only_the_fields_that_gates_need(stub, database, clock):
    day = Offer(
        TicketType.VIP,
        9_900,
        valid_from_time=clock() + timedelta(days=10),
        valid_until_time=clock() + timedelta(days=11),
    )
    event, [ticket_id] = await sold(database, clock, offers=(day,), ticket_type=TicketType.VIP)
    stored = await row(database, tickets, ticket_id=ticket_id)
    stream = stub.WatchTickets(pb.WatchTicketsRequest(), metadata=PEER_METADATA)
    message = await stream.read()
    stream.cancel()
    assert message.event.event_id == str(event.event_id)
    assert (message.event.name, message.event.organizer_id, message.event.revision) == ("Concert", "olga", 1)
    assert message.event.status == event_pb2.EVENT_STATUS_PUBLISHED
    assert message.event.admission_policy == event_pb2.ADMISSION_POLICY_SINGLE_ENTRY
    assert message.event.valid_from_time.ToDatetime(tzinfo=UTC) == event.doors_open_time
    assert message.event.valid_until_time.ToDatetime(tzinfo=UTC) == event.end_time
    [ticket] = message.tickets
    assert (ticket.ticket_id, ticket.issue, ticket.revision) == (str(ticket_id), 1, 2)
    assert ticket.ticket_type == event_pb2.TICKET_TYPE_VIP
    assert ticket.status == ticket_pb2.TICKET_STATUS_ACTIVE
    assert ticket.code_digest == stored.code_digest
    assert ticket.token_digest == b""
    assert ticket.valid_from_time.ToDatetime(tzinfo=UTC) == day.valid_from_time
    assert ticket.valid_until_time.ToDatetime(tzinfo=UTC) == day.valid_until_time
    assert ticket.purchase_id == ""
    assert message.revision == 2
    assert UUID(message.epoch.split(".")[0])


async def test_the_feed_has_the_purchases_of_group_tickets(stub, database, clock):
    group = Offer(TicketType.GROUP, 9_900)
    _, ticket_ids = await sold(database, clock, 2, offers=(group,), ticket_type=TicketType.GROUP)
    stored = await row(database, tickets, ticket_id=ticket_ids[0])
    stream = stub.WatchTickets(pb.WatchTicketsRequest(), metadata=PEER_METADATA)
    message = await stream.read()
    stream.cancel()
    assert [ticket.purchase_id for ticket in message.tickets] == [str(stored.purchase_id)] * 2


async def test_a_replica_of_fewer_fields_is_sent_everything_again(stub, database, clock):
    """A scan service that followed the version before lacks purchases, though its cursor is at the head."""
    event, ticket_ids = await sold(database, clock, 2)
    [epoch] = await database.run(
        lambda connection: connection.execute(sa.text("SELECT epoch FROM feed")).scalars().all()
    )
    request = pb.WatchTicketsRequest(after_revisions={str(event.event_id): 3}, epoch=str(epoch))
    stream = stub.WatchTickets(request, metadata=PEER_METADATA)
    message = await stream.read()
    stream.cancel()
    assert [ticket.ticket_id for ticket in message.tickets] == [str(ticket_id) for ticket_id in ticket_ids]
    assert message.epoch != str(epoch)


async def test_a_stream_continues_after_its_cursor(stub, database, clock):
    event, [first, second] = await sold(database, clock, 2)
    digest = b"d" * 16
    changed = sa.update(tickets).where(tickets.c.ticket_id == second)
    values = {"check_in_time": clock(), "token_digest": digest}
    await database.run(lambda connection: connection.execute(changed.values(**values)))
    beginning = stub.WatchTickets(pb.WatchTicketsRequest(), metadata=PEER_METADATA)
    message = await beginning.read()
    beginning.cancel()
    assert [ticket.ticket_id for ticket in message.tickets] == [str(first), str(second)]
    request = pb.WatchTicketsRequest(after_revisions={str(event.event_id): 2}, epoch=message.epoch)
    stream = stub.WatchTickets(request, metadata=PEER_METADATA)
    [ticket] = (await stream.read()).tickets
    assert (ticket.ticket_id, ticket.token_digest) == (str(second), digest)
    assert ticket.status == ticket_pb2.TICKET_STATUS_ACTIVE
    assert not ticket.HasField("valid_from_time")
    [third] = await database.run(lambda connection: sell(connection, event, 1))
    [ticket] = (await stream.read()).tickets
    stream.cancel()
    assert ticket.ticket_id == str(third)


async def test_a_response_has_as_many_events_as_requested(stub, database, clock):
    sales = [await sold(database, clock, count) for count in (1, 2, 1)]
    stream = stub.WatchTickets(pb.WatchTicketsRequest(max_events=2), metadata=PEER_METADATA)
    first, second = await stream.read(), await stream.read()
    stream.cancel()
    [other] = first.others
    pages = [first, other, second]
    assert not second.others
    assert [message.event.event_id for message in pages] == [str(event.event_id) for event, _ in sales]
    assert [[ticket.ticket_id for ticket in message.tickets] for message in pages] == [
        [str(ticket_id) for ticket_id in ticket_ids] for _, ticket_ids in sales
    ]
    assert [message.revision for message in pages] == [2, 3, 2]
    assert first.epoch == second.epoch != ""


@pytest.mark.parametrize("most", [-1, 1_001])
async def test_the_events_of_a_response_are_bounded(stub, most):
    stream = stub.WatchTickets(pb.WatchTicketsRequest(max_events=most), metadata=PEER_METADATA)
    assert await fields_at_fault(stream.read()) == ["max_events"]


async def test_an_impossible_cursor_is_refused(stub):
    for cursors, fields in [
        ({"x": 1}, ["after_revisions"]),
        ({(event_id := str(new_id())): -1}, [f'after_revisions["{event_id}"]']),
    ]:
        stream = stub.WatchTickets(pb.WatchTicketsRequest(after_revisions=cursors), metadata=PEER_METADATA)
        assert await fields_at_fault(stream.read()) == fields


@pytest.mark.parametrize("role", ["user", "organizer", "scanner", "service"])
async def test_only_the_peer_reads_the_feed(stub, issuer, role):
    for call in [
        stub.WatchTickets(pb.WatchTicketsRequest(), metadata=issuer.metadata(role)).read(),
        stub.GetSigningKeys(pb.GetSigningKeysRequest(), metadata=issuer.metadata(role)),
        stub.ReportCheckIns(pb.ReportCheckInsRequest(), metadata=issuer.metadata(role)),
        stub.ReportIncidents(pb.ReportIncidentsRequest(), metadata=issuer.metadata(role)),
    ]:
        assert (await refusal(call)).code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_stopping_service_ends_its_streams_at_once(make_settings, tickets_url, database, clock):
    await sold(database, clock)
    app = App(make_settings(TICKETING_DRAIN_SECONDS="60"), tickets_url, clock)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await app.start()}") as channel:
        stream = TicketFeedServiceStub(channel).WatchTickets(pb.WatchTicketsRequest(), metadata=PEER_METADATA)
        await stream.read()
        async with asyncio.timeout(20):
            await app.stop()
            assert await stream.read() is grpc.aio.EOF


async def test_the_feed_returns_the_public_keys(stub, clock):
    response = await stub.GetSigningKeys(pb.GetSigningKeysRequest(), metadata=PEER_METADATA)
    [key] = response.keys
    assert (key.key_id, len(key.public_key)) == (1, 32)
    assert key.activate_time.ToDatetime(tzinfo=UTC) == clock()
    assert not key.HasField("retire_time")


def check_in(event: Event, ticket_id: UUID, sequence: int, time: datetime | None = None) -> pb.CheckIn:
    message = pb.CheckIn(event_id=str(event.event_id), ticket_id=str(ticket_id), sequence=sequence)
    if time is not None:
        message.check_in_time.FromDatetime(time)
    return message


async def test_check_ins_are_shown_and_annulled_without_a_revision(stub, database, clock):
    event, [ticket_id] = await sold(database, clock)
    for sequence, time in [(1, clock()), (2, None), (3, clock() + timedelta(hours=1))]:
        request = pb.ReportCheckInsRequest(check_ins=[check_in(event, ticket_id, sequence, time)])
        for _ in range(2):
            assert not (await stub.ReportCheckIns(request, metadata=PEER_METADATA)).conflicts
        stored = await row(database, tickets, ticket_id=ticket_id)
        assert (stored.check_in_time, stored.check_in_sequence, stored.revision) == (time, sequence, 2)
    query = sa.select(events.c.revision)
    assert await database.run(lambda connection: connection.execute(query).scalar_one()) == 2


async def test_an_outdated_report_changes_nothing(stub, database, clock):
    event, [ticket_id] = await sold(database, clock)
    reports = [check_in(event, ticket_id, 5, clock()), check_in(event, ticket_id, 4)]
    for report in reports:
        await stub.ReportCheckIns(pb.ReportCheckInsRequest(check_ins=[report]), metadata=PEER_METADATA)
    assert (await row(database, tickets, ticket_id=ticket_id)).check_in_time == clock()


async def test_impossible_check_ins_are_returned_each_time(stub, database, clock):
    event, [given_back, fine] = await sold(database, clock, 2)
    cancel = sa.update(tickets).where(tickets.c.ticket_id == given_back).values(status="REFUNDED")
    await database.run(lambda connection: connection.execute(cancel))
    unknown = new_id()
    request = pb.ReportCheckInsRequest(
        check_ins=[check_in(event, ticket_id, 1, clock()) for ticket_id in (given_back, fine, unknown)]
    )
    for _ in range(2):
        response = await stub.ReportCheckIns(request, metadata=PEER_METADATA)
        assert {(conflict.ticket_id, conflict.status) for conflict in response.conflicts} == {
            (str(given_back), ticket_pb2.TICKET_STATUS_REFUNDED),
            (str(unknown), ticket_pb2.TICKET_STATUS_UNSPECIFIED),
        }
    assert (await row(database, tickets, ticket_id=fine)).check_in_time == clock()
    assert (await row(database, tickets, ticket_id=given_back)).check_in_time is None
    # The scan service reports an incident for each, so a notification here would be the second one.
    assert [(notification.kind, notification.ticket_id) for notification in await outbox_rows(database)] == [
        ("ticket.checked_in", fine)
    ]


async def test_reported_tickets_are_locked_in_the_order_of_their_ids(stub, database, clock):
    event, [first, *others] = await sold(database, clock, 50)
    # An updated row lies behind the others: a lock in physical order would reach it last.
    move = sa.update(tickets).where(tickets.c.ticket_id == first).values(update_time=clock())
    await database.run(lambda connection: connection.execute(move))
    lock = sa.select(tickets.c.ticket_id).with_for_update(nowait=True)
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    is_locked, may_go_on = threading.Event(), threading.Event()

    def lock_in_order(connection: Connection) -> None:
        connection.execute(lock.where(tickets.c.ticket_id == first))
        is_locked.set()
        may_go_on.wait(20)
        connection.execute(lock.where(tickets.c.ticket_id.in_(others)))

    locking = asyncio.ensure_future(database.run(lock_in_order))
    await asyncio.to_thread(is_locked.wait, 20)
    reports = [check_in(event, ticket_id, 1, clock()) for ticket_id in (*others, first)]
    reporting = asyncio.ensure_future(
        stub.ReportCheckIns(pb.ReportCheckInsRequest(check_ins=reports), metadata=PEER_METADATA)
    )
    await until(lambda: database.run(lambda connection: connection.execute(waiting).scalar_one()))
    may_go_on.set()
    await locking
    assert not (await reporting).conflicts


async def test_a_locked_ticket_delays_its_own_report_alone(stub, database, clock, tickets_url: URL):
    """The scan service gets its answer before it gives the call up; the waits are those of the service."""
    event, [locked, free, cancelled] = await sold(database, clock, 3)
    cancel = sa.update(tickets).where(tickets.c.ticket_id == cancelled).values(status="REFUNDED")
    await database.run(lambda connection: connection.execute(cancel))
    reported = [locked, cancelled, new_id(), free]
    request = pb.ReportCheckInsRequest(
        check_ins=[check_in(event, ticket_id, 1, clock()) for ticket_id in reported], skip_locked=True
    )
    with closing(connect(tickets_url, "tests")) as other:
        other.cursor().execute(f"SELECT FROM tickets WHERE ticket_id = '{locked}' FOR UPDATE")
        response = await stub.ReportCheckIns(request, timeout=CALL_SECONDS, metadata=PEER_METADATA)
        assert list(response.locked) == [0]
        assert [conflict.ticket_id for conflict in response.conflicts] == [str(reported[1]), str(reported[2])]
        assert (await row(database, tickets, ticket_id=free)).check_in_time == clock()
        # A caller of the version before does not know locked reports.
        request.skip_locked = False
        assert (await refusal(stub.ReportCheckIns(request, metadata=PEER_METADATA))).reason == "OVERLOADED"
    assert not (await stub.ReportCheckIns(request, metadata=PEER_METADATA)).locked
    assert (await row(database, tickets, ticket_id=locked)).check_in_time == clock()


async def test_an_empty_report_is_valid(stub):
    assert not (await stub.ReportCheckIns(pb.ReportCheckInsRequest(), metadata=PEER_METADATA)).conflicts


async def test_bad_reports_name_every_field_at_fault(stub):
    bad = pb.CheckIn(event_id="x", ticket_id="", sequence=0)
    bad.check_in_time.seconds = 2**60
    call = stub.ReportCheckIns(pb.ReportCheckInsRequest(check_ins=[bad]), metadata=PEER_METADATA)
    assert await fields_at_fault(call) == [
        f"check_ins[0].{field}" for field in ("event_id", "ticket_id", "check_in_time", "sequence")
    ]
    many = [pb.CheckIn()] * 1_001
    call = stub.ReportCheckIns(pb.ReportCheckInsRequest(check_ins=many), metadata=PEER_METADATA)
    assert await fields_at_fault(call) == ["check_ins"]


def incident(event_id: UUID, time: datetime, **values: Any) -> pb.ReportedIncident:
    usual: dict[str, Any] = {
        "incident_id": str(new_id()),
        "kind": "DOUBLE_ADMISSION",
        "scan_count": 2,
        "location": "North 3",
    }
    message = pb.ReportedIncident(event_id=str(event_id), **(usual | values))
    message.create_time.FromDatetime(time)
    return message


async def test_a_repeated_incident_makes_one_notification(stub, database, clock):
    event, [ticket_id] = await sold(database, clock)
    double = incident(event.event_id, clock(), ticket_id=str(ticket_id))
    forged = incident(event.event_id, clock(), kind="FORGED_TOKEN")
    for reports in ([double], [double, double, forged], [forged, double]):
        await stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=reports), metadata=PEER_METADATA)
    first, second = await outbox_rows(database)
    owner = await row(database, tickets, ticket_id=ticket_id)
    assert (first.kind, first.ticket_id, first.purchase_id, first.user_id) == (
        "incident",
        ticket_id,
        owner.purchase_id,
        owner.user_id,
    )
    assert [str(notification.notification_id) for notification in (first, second)] == [
        double.incident_id,
        forged.incident_id,
    ]
    assert first.data == {
        "incident_id": double.incident_id,
        "kind": "DOUBLE_ADMISSION",
        "create_time": clock().isoformat(),
        "scan_count": 2,
        "location": "North 3",
    }
    assert (second.data["kind"], second.ticket_id, second.purchase_id) == ("FORGED_TOKEN", None, None)


async def test_a_delivered_incident_is_not_notified_again(stub, database, clock):
    event, [ticket_id] = await sold(database, clock)
    request = pb.ReportIncidentsRequest(incidents=[incident(event.event_id, clock(), ticket_id=str(ticket_id))])
    for _ in range(2):
        await stub.ReportIncidents(request, metadata=PEER_METADATA)
        await database.run(lambda connection: connection.execute(sa.delete(outbox)))
    await stub.ReportIncidents(request, metadata=PEER_METADATA)
    assert await outbox_rows(database) == []


async def test_an_incident_without_a_ticket_delays_nothing(stub, database, clock):
    event, [ticket_id] = await sold(database, clock)
    reports = [
        incident(event.event_id, clock(), ticket_id=str(ticket_id)),
        incident(event.event_id, clock(), kind="UNKNOWN_ADMISSION", ticket_id=str(new_id())),
        incident(event.event_id, clock(), kind="CODE_GUESSING"),
    ]
    await stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=reports), metadata=PEER_METADATA)
    await database.run(lambda connection: dispatch(connection, [Route("hook", list(Kind))], clock(), 500))
    query = sa.select(deliveries.c.stream, deliveries.c.purchase_id).order_by(deliveries.c.position)
    of_ticket, *others = await database.run(lambda connection: connection.execute(query).all())
    ticket = await row(database, tickets, ticket_id=ticket_id)
    assert of_ticket.stream == of_ticket.purchase_id == ticket.purchase_id
    assert [str(one.stream) for one in others] == [report.incident_id for report in reports[1:]]


async def test_an_incident_of_an_unknown_event_is_dropped_and_logged(stub, database, clock, caplog):
    event, _ = await sold(database, clock)
    here, elsewhere = incident(event.event_id, clock()), incident(new_id(), clock())
    await stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=[elsewhere, here]), metadata=PEER_METADATA)
    assert [str(notification.notification_id) for notification in await outbox_rows(database)] == [here.incident_id]
    [line] = [record for record in caplog.records if record.name == "ticket_service.use_cases.incidents"]
    assert (str(line.event_id), str(line.incident_id)) == (elsewhere.event_id, elsewhere.incident_id)


async def test_an_incident_waits_for_notifications_of_its_ticket(stub, database, clock):
    """Otherwise it had the lower position and could be delivered after the notification with the higher one."""
    event, [ticket_id] = await sold(database, clock)
    lock = sa.select(tickets.c.ticket_id).where(tickets.c.ticket_id == ticket_id).with_for_update()
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    is_locked, may_go_on = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        connection.execute(lock)
        is_locked.set()
        may_go_on.wait(20)

    holding = asyncio.ensure_future(database.run(hold))
    await asyncio.to_thread(is_locked.wait, 20)
    request = pb.ReportIncidentsRequest(incidents=[incident(event.event_id, clock(), ticket_id=str(ticket_id))])
    reporting = asyncio.ensure_future(stub.ReportIncidents(request, metadata=PEER_METADATA))
    await until(lambda: database.run(lambda connection: connection.execute(waiting).scalar_one()))
    assert await outbox_rows(database) == []
    may_go_on.set()
    await holding
    await reporting
    assert len(await outbox_rows(database)) == 1


@pytest.mark.parametrize("kind", ["TKT-212F882CF65701B2", "TKT212F882CF65701B2", "Double_Admission", "_-_", "A" * 51])
async def test_a_kind_that_is_no_name_is_refused_and_not_logged(stub, clock, caplog, kind):
    report = incident(new_id(), clock(), kind=kind)
    call = stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=[report]), metadata=PEER_METADATA)
    assert await fields_at_fault(call) == ["incidents[0].kind"]
    assert kind not in caplog.text + str([record.__dict__ for record in caplog.records])


async def test_an_incident_without_a_time_gets_the_epoch(stub, database, clock):
    event, _ = await sold(database, clock)
    report = incident(event.event_id, clock())
    report.ClearField("create_time")
    await stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=[report]), metadata=PEER_METADATA)
    [notification] = await outbox_rows(database)
    assert notification.data["create_time"] == "1970-01-01T00:00:00+00:00"


async def test_bad_reports_of_incidents_name_every_field_at_fault(stub, clock):
    bad = pb.ReportedIncident(event_id="x", incident_id="", kind="", ticket_id="y", location="\0" * 2)
    bad.create_time.seconds = 2**60
    call = stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=[bad]), metadata=PEER_METADATA)
    assert await fields_at_fault(call) == [
        f"incidents[0].{field}"
        for field in ("event_id", "incident_id", "kind", "ticket_id", "create_time", "scan_count", "location")
    ]
    many = [incident(new_id(), clock())] * 1_001
    call = stub.ReportIncidents(pb.ReportIncidentsRequest(incidents=many), metadata=PEER_METADATA)
    assert await fields_at_fault(call) == ["incidents"]


async def test_check_ins_are_listed_page_by_page(stub, database, clock):
    event, ticket_ids = await sold(database, clock, 4)
    # One ticket was never reported, and the check-in of another one was annulled.
    reports = [
        pb.CheckIn(event_id=str(event.event_id), ticket_id=str(ticket_id), sequence=n, check_in_time=time)
        for n, (ticket_id, time) in enumerate(
            zip(sorted(ticket_ids)[1:], [at(clock()), None, at(clock())], strict=True), start=1
        )
    ]
    await stub.ReportCheckIns(pb.ReportCheckInsRequest(check_ins=reports), metadata=PEER_METADATA)
    found = list[pb.CheckIn]()
    for size in (2, 1, 0):
        after = {"after_event_id": found[-1].event_id, "after_ticket_id": found[-1].ticket_id} if found else {}
        request = pb.ListCheckInsRequest(max_check_ins=2, **after)
        page = (await stub.ListCheckIns(request, metadata=PEER_METADATA)).check_ins
        assert len(page) == size
        found += page
    assert found == reports
