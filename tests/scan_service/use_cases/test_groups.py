"""A group is admitted by one scan with a count: as many tickets as people or none, each exactly once."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC

import pytest

from tests.environment.refusals import fields_at_fault, refusal
from tests.scanning.gates import CODES, Device, ScansDatabase, ShownTicket, token_of
from tests.scanning.groups import GROUP, Group, make_group
from tests.scanning.uploads import ADMITTED, BEGIN, DENIED, OUT, decided
from ticketing.admission.scans import group_scan_id
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import revocation_service_pb2 as revocations_pb
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import ticket_pb2


@pytest.fixture
def group(database) -> Group:
    return make_group(database, database.event(), 8)


def set_ticket(database: ScansDatabase, ticket: ShownTicket, assignment: str) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE tickets SET {assignment} WHERE ticket_id = '{ticket.ticket_id}'")


async def scan(service, group: Group, number: int, count: int, **values) -> scan_pb2.Scan:
    return await service.scan(group.event_id, group.tickets[number].token, group_count=count, **values)


async def listed(service, event_id, **values) -> list[scan_pb2.Scan]:
    request = pb.ListScansRequest(event_id=str(event_id), page_size=1_000, **values)
    return list((await service.scans.ListScans(request, metadata=service.scanner)).scans)


async def annul(service, scan_id: str, metadata=None) -> scan_pb2.Scan:
    request = pb.AnnulScanRequest(scan_id=scan_id)
    return (await service.scans.AnnulScan(request, metadata=metadata or service.scanner)).scan


async def attendance(service, event_id) -> pb.Attendance:
    request = pb.GetAttendanceRequest(event_id=str(event_id))
    return (await service.scans.GetAttendance(request, metadata=service.scanner)).attendance


async def test_one_scan_admits_the_scanned_ticket_and_further_ones(database, service, group):
    answer = await scan(service, group, 6, 5)
    assert (answer.verdict, answer.ticket_id, answer.group_scan_id) == (ADMITTED, *group.ids(6), "")
    expected = scan_pb2.GroupAdmission(count=5, ticket_ids=group.ids(6, 0, 1, 2, 3), left=3, inside=5, size=8)
    assert answer.group == expected
    rows = {str(row["ticket_id"]): row for row in database.rows("tickets")}
    assert [rows[ticket]["inside"] for ticket in group.ids(*range(8))] == [True] * 4 + [False, False, True, False]
    # Each ticket has its own record, under an id that follows from the scan_id.
    records = {one.ticket_id: one for one in await listed(service, group.event_id)}
    assert set(records) == set(expected.ticket_ids)
    for index, ticket_id in enumerate(expected.ticket_ids):
        record = records[ticket_id]
        assert record.scan_id == str(group_scan_id(uuid.UUID(answer.scan_id), index))
        assert (record.verdict, record.group_scan_id) == (ADMITTED, answer.scan_id if index else "")
        assert record.code == CODES.code(uuid.UUID(ticket_id), 1)
        assert str(rows[ticket_id]["entry_scan_id"]) == record.scan_id
    counts = await attendance(service, group.event_id)
    assert (counts.checked_in, counts.inside, counts.locations[0].check_ins) == (5, 5, 5)


async def test_a_repeated_scan_gets_its_first_answer_and_changes_nothing(database, service, group):
    first = await scan(service, group, 0, 3)
    again = await scan(service, group, 0, 3, scan_id=first.scan_id)
    assert again == first
    assert len(database.rows("scans")) == 3
    # With another count it is another scan; so is a single one.
    for count in (0, 2, 4):
        assert (await refusal(scan(service, group, 0, count, scan_id=first.scan_id))).reason == "SCAN_ID_REUSED"


async def test_too_large_a_count_admits_nobody_and_says_how_many_are_left(database, service, group):
    assert (await scan(service, group, 0, 5)).verdict == ADMITTED
    denied = await scan(service, group, 7, 5)
    assert (denied.verdict, denied.denial_reason) == (DENIED, scan_pb2.DENIAL_REASON_GROUP_TOO_SMALL)
    assert denied.group == scan_pb2.GroupAdmission(count=5, left=3, inside=5, size=8)
    assert len(database.rows("scans")) == 6
    rest = await scan(service, group, 7, denied.group.left)
    assert rest.group == scan_pb2.GroupAdmission(count=3, ticket_ids=group.ids(7, 5, 6), left=0, inside=8, size=8)
    # A used ticket, or a copy of it, admits nobody else.
    used = await scan(service, group, 0, 1)
    assert used.denial_reason == scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
    assert (used.previous.location, used.group.left) == ("North", 0)


async def test_cancelled_and_blocked_tickets_of_the_group_are_left_out(database, service, group):
    for number, status in ((0, "CANCELLED"), (1, "REFUNDED"), (2, "BLOCKED")):
        set_ticket(database, group.tickets[number], f"status = '{status}'")
    set_ticket(database, group.tickets[3], "valid_until_time = now() - interval '1 hour'")
    denied = await scan(service, group, 7, 5)
    assert denied.group == scan_pb2.GroupAdmission(count=5, left=4, inside=0, size=5)
    assert (await scan(service, group, 7, 4)).group.ticket_ids == group.ids(7, 4, 5, 6)
    assert (await scan(service, group, 2, 1)).denial_reason == scan_pb2.DENIAL_REASON_BLOCKED


async def test_other_ticket_types_are_refused(database, service):
    event_id = database.event()
    ticket = database.ticket(event_id)
    answer = await service.scan(event_id, ticket.token, group_count=2)
    assert (answer.verdict, answer.denial_reason) == (DENIED, scan_pb2.DENIAL_REASON_NOT_A_GROUP)
    assert answer.group == scan_pb2.GroupAdmission(count=2)
    unknown = await service.scan(event_id, "4006381333931", group_count=2)
    assert (unknown.denial_reason, unknown.group.count) == (scan_pb2.DENIAL_REASON_TICKET_NOT_FOUND, 2)
    assert (await service.scan(event_id, ticket.token)).verdict == ADMITTED


async def test_a_typed_code_admits_a_group(service, group):
    answer = await service.scan(group.event_id, group.tickets[1].code, group_count=2)
    assert answer.group.ticket_ids == group.ids(1, 0)


async def test_a_group_ticket_that_the_feed_has_not_delivered_is_admitted_alone(database, service):
    event_id, ticket_id = database.event(), uuid.uuid4()
    token = token_of(database.key, event_id, ticket_id, kind=GROUP)
    denied = await service.scan(event_id, token, group_count=2)
    assert (denied.denial_reason, denied.group.left) == (scan_pb2.DENIAL_REASON_GROUP_TOO_SMALL, 1)
    assert (await service.scan(event_id, token, group_count=1)).verdict == ADMITTED


async def test_groups_and_single_scans_share_a_batch(database, service, group):
    device = Device(service)
    await device.open(group.event_id)
    await device.ask(group.tickets[0].token, group_count=3)
    await device.ask(group.tickets[1].token)
    await device.ask(group.tickets[4].token)
    await device.ask(group.tickets[7].token, group_count=4)
    answers = [(await device.receive()).result for _ in range(4)]
    assert [answer.verdict for answer in answers] == [ADMITTED, DENIED, ADMITTED, ADMITTED]
    assert answers[3].group.ticket_ids == group.ids(7, 3, 5, 6)
    assert answers[1].previous.scan_id == str(group_scan_id(uuid.UUID(answers[0].scan_id), 1))


async def test_each_ticket_is_admitted_once_whatever_is_scanned_at_once(database, service, group):
    scans = [scan(service, group, number, count) for count in (1, 2, 3, 5, 8) for number in range(8)]
    answers = await asyncio.gather(*scans)
    admitted = Counter(ticket for answer in answers for ticket in answer.group.ticket_ids)
    assert admitted == Counter(group.ids(*range(8)))
    effective = [row for row in database.rows("scans") if row["verdict"] == "ADMITTED"]
    assert len(effective) == 8


async def test_the_id_of_a_further_record_is_no_new_scan(service, group):
    scan_id = uuid.uuid4()
    taken = str(group_scan_id(scan_id, 2))
    await service.scan(group.event_id, group.tickets[7].token, scan_id=taken)
    assert (await refusal(scan(service, group, 0, 3, scan_id=str(scan_id)))).reason == "SCAN_ID_REUSED"
    other = await scan(service, group, 0, 3)
    assert (
        await refusal(scan(service, group, 0, 3, scan_id=str(group_scan_id(uuid.UUID(other.scan_id), 1))))
    ).reason == "SCAN_ID_REUSED"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"group_count": -1}, "attempt.group_count"),
        ({"group_count": 101}, "attempt.group_count"),
        ({"group_count": 2, "scan_type": OUT}, "attempt.group_count"),
    ],
)
async def test_a_count_has_bounds_and_is_for_check_ins(service, group, values, field):
    assert await fields_at_fault(service.scan(group.event_id, group.tickets[0].token, **values)) == [field]


async def test_a_group_of_a_hundred_is_admitted(database, service):
    group = make_group(database, database.event(), 100)
    answer = await scan(service, group, 99, 100)
    assert (len(answer.group.ticket_ids), answer.group.inside) == (100, 100)


async def test_each_ticket_of_a_group_leaves_and_returns_alone(database, service):
    group = make_group(database, database.event(admission_policy="RE_ENTRY"), 3)
    await scan(service, group, 0, 3)
    assert (await service.scan(group.event_id, group.tickets[1].token, scan_type=OUT)).verdict == ADMITTED
    again = await scan(service, group, 1, 1)
    assert again.group == scan_pb2.GroupAdmission(count=1, ticket_ids=group.ids(1), left=0, inside=3, size=3)


async def test_a_group_and_the_refund_of_one_of_its_tickets_never_both_win(service, group):
    await scan(service, group, 0, 3)
    outcomes = []
    for number in (1, 5):
        revocation = revocations_pb.Revocation(
            revocation_id=str(uuid.uuid4()),
            ticket_id=group.ids(number)[0],
            status=ticket_pb2.TICKET_STATUS_REFUNDED,
            issue=1,
        )
        request = revocations_pb.RevokeTicketsRequest(event_id=str(group.event_id), revocations=[revocation])
        answer = await service.revocations.RevokeTickets(request, metadata=service.peer, timeout=20)
        outcomes.append(answer.outcomes[0].revoked)
    assert outcomes == [False, True]
    assert (await scan(service, group, 4, 5)).group.left == 4


async def test_an_annulled_group_is_outside_again(database, service, group):
    first = await scan(service, group, 0, 5)
    annulled = await annul(service, first.scan_id)
    assert annulled.HasField("annul_time")
    assert annulled == await annul(service, first.scan_id)
    assert all(record.HasField("annul_time") for record in await listed(service, group.event_id))
    assert {row["inside"] for row in database.rows("tickets")} == {False}
    assert (await scan(service, group, 0, 8)).verdict == ADMITTED
    counts = await attendance(service, group.event_id)
    assert (counts.inside, counts.locations[0].check_ins) == (8, 8)


async def test_one_person_of_a_group_is_annulled_alone(database, service, group):
    first = await scan(service, group, 0, 4)
    second = str(group_scan_id(uuid.UUID(first.scan_id), 2))
    assert (await annul(service, second)).ticket_id == group.ids(2)[0]
    assert (await scan(service, group, 2, 1)).group == scan_pb2.GroupAdmission(
        count=1, ticket_ids=group.ids(2), left=4, inside=4, size=8
    )
    # The rest of the group can still be annulled, and the new check-in stays.
    await annul(service, first.scan_id)
    assert [row["inside"] for row in database.rows("tickets")].count(True) == 1


async def test_a_group_is_annulled_as_a_whole_or_not_at_all(database, service, orga):
    group = make_group(database, database.event(admission_policy="RE_ENTRY"), 3)
    first = await scan(service, group, 0, 3)
    await service.scan(group.event_id, group.tickets[2].token, scan_type=OUT)
    assert (await refusal(annul(service, first.scan_id))).reason == "SCAN_NOT_ANNULLABLE"
    assert not any(record.HasField("annul_time") for record in await listed(service, group.event_id))
    # The organizer has no limits.
    await annul(service, first.scan_id, orga)
    assert {row["inside"] for row in database.rows("tickets")} == {False}


async def test_a_passage_that_did_not_happen_annuls_the_group(service, group):
    device = Device(service)
    await device.open(group.event_id)
    admitted = await device.scan(group.tickets[0].token, group_count=3)
    await device.send(passage=pb.Passage(scan_id=admitted.scan_id))
    assert (await device.receive()).annulled.group == admitted.group
    assert (await device.scan(group.tickets[1].token, group_count=8)).verdict == ADMITTED


def group_decision(group: Group, *numbers: int, minute=0, **values) -> pb.ScanAttempt:
    """Make the decision of a device that admitted these tickets of the group, the first one by its token."""
    further = group.ids(*numbers[1:])
    attempt = decided(group.tickets[numbers[0]].token, minute, group_ticket_ids=further, **values)
    attempt.group_count = len(numbers)
    return attempt


async def upload(service, event_id, *attempts: pb.ScanAttempt, metadata=None) -> pb.Uploaded:
    device = Device(service, metadata)
    await device.open(event_id)
    await device.send(upload=pb.Upload(scans=attempts))
    uploaded: pb.Uploaded = (await device.receive()).uploaded
    device.call.cancel()
    return uploaded


async def incidents(service, event_id) -> dict[str, list[str]]:
    """Return the tickets of the incidents, by kind."""
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    found: dict[str, list[str]] = {}
    for incident in (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents:
        name = scan_pb2.IncidentKind.Name(incident.kind).removeprefix("INCIDENT_KIND_")
        found.setdefault(name, []).append(incident.ticket_id)
    return {kind: sorted(tickets) for kind, tickets in found.items()}


async def test_an_uploaded_group_is_recorded_once_as_shown(database, service, group):
    decision = group_decision(group, 2, 5, 6)
    uploaded = await upload(service, group.event_id, decision)
    [result] = uploaded.results
    assert (result.offline, result.verdict) == (True, ADMITTED)
    assert result.group == scan_pb2.GroupAdmission(count=3, ticket_ids=group.ids(2, 5, 6))
    assert await upload(service, group.event_id, decision, decision) == pb.Uploaded(results=[result, result])
    assert len(database.rows("scans")) == 3
    assert (await scan(service, group, 0, 5)).group.ticket_ids == group.ids(0, 1, 3, 4, 7)
    assert await incidents(service, group.event_id) == {}
    records = {one.ticket_id: one for one in await listed(service, group.event_id)}
    assert records[group.ids(5)[0]].scan_time.ToDatetime(tzinfo=UTC) == BEGIN


async def test_a_group_admitted_at_two_gates_is_one_incident_for_each_ticket(service, group):
    one, two = group_decision(group, 0, 1, 2), group_decision(group, 4, 1, 2, minute=1)
    await upload(service, group.event_id, one)
    await upload(service, group.event_id, two)
    assert await incidents(service, group.event_id) == {"DOUBLE_ADMISSION": sorted(group.ids(1, 2))}
    counts = await attendance(service, group.event_id)
    assert counts.checked_in == 4


async def test_live_groups_and_uploads_of_the_same_tickets_are_incidents(service, group):
    await scan(service, group, 0, 3)
    await upload(service, group.event_id, group_decision(group, 7, 0, 1))
    assert await incidents(service, group.event_id) == {"DOUBLE_ADMISSION": sorted(group.ids(0, 1))}


async def test_an_upload_after_a_lost_answer_keeps_the_recorded_tickets(database, service, group):
    answer = await scan(service, group, 0, 3)
    repeated = group_decision(group, 0, 5, 6, scan_id=answer.scan_id)
    [result] = (await upload(service, group.event_id, repeated)).results
    # As many people entered; which tickets of their purchase count makes no difference.
    assert result.group == answer.group
    assert len(database.rows("scans")) == 3
    assert await incidents(service, group.event_id) == {}


async def test_an_upload_after_a_lost_denial_admits_as_shown(database, service, group):
    await scan(service, group, 7, 6)
    denied = await scan(service, group, 6, 3)
    assert denied.verdict == DENIED
    shown = group_decision(group, 6, 5, 4, scan_id=denied.scan_id)
    [result] = (await upload(service, group.event_id, shown)).results
    assert (result.verdict, result.group.ticket_ids) == (ADMITTED, group.ids(6, 5, 4))
    assert await incidents(service, group.event_id) == {"DOUBLE_ADMISSION": group.ids(4)}
    assert {row["inside"] for row in database.rows("tickets")} == {True}


async def test_an_upload_of_a_denial_takes_the_whole_group_back(database, service, group):
    answer = await scan(service, group, 0, 3)
    denied = decided(
        group.tickets[0].token,
        60,
        verdict=DENIED,
        denial_reason=scan_pb2.DENIAL_REASON_GROUP_TOO_SMALL,
        scan_id=answer.scan_id,
    )
    denied.group_count = 3
    [result] = (await upload(service, group.event_id, denied)).results
    assert result.verdict == DENIED
    assert {row["inside"] for row in database.rows("tickets")} == {False}
    assert (await scan(service, group, 0, 8)).verdict == ADMITTED


async def test_an_annulled_offline_group_is_outside(database, service, group):
    decision = group_decision(group, 0, 1, 2)
    await upload(service, group.event_id, decision)
    annulled = group_decision(group, 0, 1, 2, annulled=True, scan_id=decision.scan_id)
    await upload(service, group.event_id, group_decision(group, 3, 4, annulled=True))
    assert [row["inside"] for row in database.rows("tickets")].count(True) == 3
    # AnnulScan annuls an uploaded group as well; the annulment of a device came too late.
    [result] = (await upload(service, group.event_id, annulled)).results
    assert not result.HasField("annul_time")
    await annul(service, decision.scan_id, service.issuer.metadata("organizer", "orga"))
    assert {row["inside"] for row in database.rows("tickets")} == {False}


async def test_a_revoked_ticket_in_an_uploaded_group_is_an_incident(database, service, group):
    set_ticket(database, group.tickets[2], "status = 'REFUNDED'")
    await upload(service, group.event_id, group_decision(group, 0, 1, 2))
    assert await incidents(service, group.event_id) == {"REVOKED_ADMISSION": group.ids(2)}


async def test_uploads_in_any_order_have_one_end_state(database, service):
    ends = []
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0, 0, 2)):
        group = make_group(database, database.event(), 5)
        attempts = [
            group_decision(group, 0, 1, 2),
            group_decision(group, 3, 2, 1, minute=2, annulled=True),
            group_decision(group, 4, 2, minute=3),
        ]
        for number in order:
            await upload(service, group.event_id, attempts[number])
        rows = {str(row["ticket_id"]): row for row in database.rows("tickets")}
        found = await incidents(service, group.event_id)
        names = group.ids(*range(5))
        ends.append(
            (
                [(rows[name]["inside"], rows[name]["entry_time"]) for name in names],
                {kind: [names.index(ticket) for ticket in tickets] for kind, tickets in found.items()},
            )
        )
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][1] == {"DOUBLE_ADMISSION": [2]}


async def test_the_further_tickets_of_an_upload_are_checked(database, service, group):
    stranger = make_group(database, group.event_id, 2)
    wrong_number = group_decision(group, 0, 1, 2)
    wrong_number.group_count = 4
    twice = group_decision(group, 0, 1, 1)
    foreign = group_decision(group, 0, 1)
    foreign.offline.group_ticket_ids[:] = stranger.ids(1)
    itself = group_decision(group, 0, 0)
    without = decided(group.tickets[0].token, group_ticket_ids=group.ids(1))
    attempts = [wrong_number, twice, foreign, itself, without]
    uploaded = await upload(service, group.event_id, *attempts)
    assert [one.scan_id for one in uploaded.rejected] == [attempt.scan_id for attempt in attempts]
    assert all("group_ticket_ids" in one.message for one in uploaded.rejected)
    # A ticket that the replica does not have yet may come: the device uploads the scan again.
    early = group_decision(group, 0, 1)
    early.offline.group_ticket_ids[:] = [str(uuid.uuid4())]
    [rejected] = (await upload(service, group.event_id, early)).rejected
    assert rejected.reason == error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE
    assert database.rows("scans") == []


async def test_devices_get_the_purchases_of_group_tickets(database, service, group):
    database.ticket(group.event_id)
    request = pb.WatchAdmissionsRequest(event_id=str(group.event_id))
    watch = service.scans.WatchAdmissions(request, metadata=service.scanner)
    changes = await watch.read()
    watch.cancel()
    purchases = Counter(ticket.purchase_id for ticket in changes.tickets)
    [purchase_id] = {row["purchase_id"] for row in database.rows("tickets")} - {None}
    assert purchases == {purchase_id.bytes: 8, b"": 1}
