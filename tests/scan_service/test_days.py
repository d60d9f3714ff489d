"""Tests of events that last several days: live scans, uploads, and the rules that devices receive."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from tests.scanning.gates import NOW, Device
from tests.scanning.uploads import ADMITTED, IN, OUT
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALREADY_CHECKED_IN = scan_pb2.DENIAL_REASON_ALREADY_CHECKED_IN
ZONE = "Pacific/Auckland"


@pytest.fixture
def festival(database):
    """Make an event whose day changes in two to three hours."""

    def make(policy: str = "ONCE_PER_DAY", **values) -> uuid.UUID:
        usual = {"time_zone": "UTC", "day_change_hour": (NOW + 3 * HOUR).hour, "valid_until_time": NOW + 9 * DAY}
        made: uuid.UUID = database.event(admission_policy=policy, **(usual | values))
        return made

    return make


def to_the_next_day(service) -> None:
    service.clock.advance(4 * HOUR)


async def incidents(service, event_id) -> list[tuple[int, set[str]]]:
    request = pb.ListIncidentsRequest(event_id=str(event_id))
    found = (await service.scans.ListIncidents(request, metadata=service.scanner)).incidents
    return [(one.kind, {scan.scan_id for scan in one.scans}) for one in found]


async def test_a_ticket_is_admitted_once_on_each_day(database, service, festival, issuer):
    ticket = database.ticket(festival())
    metadata = issuer.metadata("scanner", "sam", exp=NOW + 9 * DAY)
    first = await service.scan(ticket.event_id, ticket.token, metadata=metadata)
    assert (await service.scan(ticket.event_id, ticket.token, scan_type=OUT, metadata=metadata)).verdict == ADMITTED
    again = await service.scan(ticket.event_id, ticket.token, metadata=metadata)
    assert (again.denial_reason, again.previous.scan_id) == (ALREADY_CHECKED_IN, first.scan_id)
    to_the_next_day(service)
    second = await service.scan(ticket.event_id, ticket.token, metadata=metadata)
    assert second.verdict == ADMITTED
    again = await service.scan(ticket.event_id, ticket.code, metadata=metadata)
    assert (again.denial_reason, again.previous.scan_id) == (ALREADY_CHECKED_IN, second.scan_id)


@pytest.mark.parametrize("policy", ["ONCE_PER_DAY", "RE_ENTRY"])
async def test_a_forgotten_check_out_locks_nobody_out_on_the_next_day(database, service, festival, issuer, policy):
    ticket = database.ticket(festival(policy))
    metadata = issuer.metadata("scanner", "sam", exp=NOW + 9 * DAY)
    verdicts = []
    for number in range(4):
        if number == 2:
            to_the_next_day(service)
        verdicts.append((await service.scan(ticket.event_id, ticket.token, metadata=metadata)).verdict == ADMITTED)
    assert verdicts == [True, False, True, False]


async def test_the_zone_of_the_event_divides_its_days(database, service, festival, issuer):
    """By the clock of the event the day changes in two to three hours, by that of the service twelve hours later."""
    metadata = issuer.metadata("scanner", "sam", exp=NOW + 9 * DAY)
    hour = (NOW + 15 * HOUR).hour
    ahead = database.ticket(festival(time_zone="Etc/GMT-12", day_change_hour=hour))
    unmoved = database.ticket(festival(day_change_hour=hour))
    for ticket in (ahead, unmoved):
        await service.scan(ticket.event_id, ticket.token, metadata=metadata)
    to_the_next_day(service)
    assert (await service.scan(ahead.event_id, ahead.token, metadata=metadata)).verdict == ADMITTED
    assert (await service.scan(unmoved.event_id, unmoved.token, metadata=metadata)).denial_reason == ALREADY_CHECKED_IN


@pytest.mark.parametrize("policy", ["ONCE_PER_DAY", "RE_ENTRY"])
async def test_uploads_of_several_days_conflict_within_one_day_only(database, service, festival, policy):
    change = datetime(2026, 7, 1, 4, tzinfo=UTC)
    event_id = festival(policy, day_change_hour=4, valid_from_time=change - 9 * DAY)
    daily, twice = database.ticket(event_id), database.ticket(event_id)
    scans = [_decided(daily.token, change + number * DAY - HOUR) for number in range(3)]
    doubles = [_decided(twice.token, change + minute * timedelta(minutes=1)) for minute in (-2, 1, 2)]
    device = Device(service)
    await device.open(event_id)
    for scan in (*scans[::-1], *doubles[::-1]):
        await device.send(upload=pb.Upload(scans=[scan]))
        assert (await device.receive()).uploaded.results
    expected = (scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION, {scan.scan_id for scan in doubles[1:]})
    assert await incidents(service, event_id) == [expected]
    [first, latest] = [
        database.value(f"SELECT {column} FROM tickets WHERE ticket_id = '{daily.ticket_id}'")
        for column in ("check_in_time", "entry_time")
    ]
    assert (first, latest) == (change - HOUR, change + 2 * DAY - HOUR)


async def test_a_check_out_on_one_day_does_not_allow_another_check_in(database, service, festival):
    change = datetime(2026, 7, 1, 4, tzinfo=UTC)
    event_id = festival(day_change_hour=4, valid_from_time=change - DAY)
    ticket = database.ticket(event_id)
    entry, leaving, again = (
        _decided(ticket.token, change + number * HOUR, kind) for number, kind in enumerate((IN, OUT, IN))
    )
    device = Device(service)
    await device.open(event_id)
    await device.send(upload=pb.Upload(scans=[entry, leaving, again]))
    assert (await device.receive()).uploaded.results
    kind = scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION
    assert await incidents(service, event_id) == [(kind, {entry.scan_id, again.scan_id})]


@pytest.mark.parametrize("hour", [None, 0, 6])
async def test_devices_receive_the_policy_the_zone_and_the_hour(service, festival, hour):
    event_id = festival(time_zone=ZONE, day_change_hour=hour)
    watch = service.scans.WatchAdmissions(
        pb.WatchAdmissionsRequest(event_id=str(event_id)), metadata=service.scanner, timeout=20
    )
    rules = (await watch.read()).rules
    watch.cancel()
    assert (rules.admission_policy, rules.time_zone) == (4, ZONE)
    assert (rules.day_change_hour if rules.HasField("day_change_hour") else None) == hour


def _decided(code: str, time: datetime, kind: "scan_pb2.ScanType.ValueType" = IN) -> pb.ScanAttempt:
    attempt = pb.ScanAttempt(scan_id=str(uuid.uuid4()), code=code, scan_type=kind)
    attempt.offline.verdict = ADMITTED
    attempt.offline.scan_time.FromDatetime(time)
    return attempt
