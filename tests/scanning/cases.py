"""The cases of the admission rules as a table, for the scan service and for the gate device."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ticketing.admission.scans import DenialReason, ScanType
from ticketing.admission.tickets import (
    AdmissionPolicy,
    AdmissionState,
    CheckIn,
    Event,
    EventStatus,
    Ticket,
    TicketStatus,
    TicketType,
)

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)
HERE, ELSEWHERE = uuid.UUID(int=1), uuid.UUID(int=2)
EVENT = Event(
    event_id=HERE,
    organizer_id="orga",
    name="Concert",
    status=EventStatus.PUBLISHED,
    policy=AdmissionPolicy.SINGLE_ENTRY,
    valid_from_time=NOON - HOUR,
    valid_until_time=NOON + HOUR,
    closed=False,
)
TICKET = Ticket(
    event_id=HERE,
    ticket_id=uuid.UUID(int=3),
    ticket_type=TicketType.STANDARD,
    status=TicketStatus.ACTIVE,
    valid_from_time=None,
    valid_until_time=None,
    issue=2,
    code_digest=b"",
    token_digest=None,
)
FIRST = CheckIn(uuid.UUID(int=4), NOON - HOUR / 2, "North")
INSIDE = AdmissionState(FIRST.time, FIRST, inside=True, sequence=1)
OUTSIDE = replace(INSIDE, inside=False)
# NOON is on the second day: the day changes two hours before it, an hour and a half before FIRST.
YESTERDAY = replace(FIRST, time=NOON - 3 * HOUR)
INSIDE_SINCE_YESTERDAY = AdmissionState(YESTERDAY.time, YESTERDAY, inside=True, sequence=1)
DAILY: dict[str, Any] = {"policy": AdmissionPolicy.ONCE_PER_DAY, "day_change_hour": 10}
DAILY_IN_BERLIN = {"policy": AdmissionPolicy.ONCE_PER_DAY, "day_change_hour": 12, "time_zone": "Europe/Berlin"}
VIP_ONLY = frozenset({TicketType.VIP})

# Each case is the plain one, which is admitted, changed in the named fields.
DENIED: dict[str, tuple[dict[str, Any], DenialReason]] = {
    "a ticket for another event": ({"ticket": {"event_id": ELSEWHERE}}, DenialReason.WRONG_EVENT),
    "an event that was cancelled": ({"event": {"status": EventStatus.CANCELLED}}, DenialReason.EVENT_CANCELLED),
    "an event closed by the ticket service": ({"event": {"closed": True}}, DenialReason.EVENT_CANCELLED),
    "an event that is over": ({"event": {"status": EventStatus.COMPLETED}}, DenialReason.EVENT_NOT_OPEN),
    "an older issue": ({"issue": 1}, DenialReason.SUPERSEDED),
    "a refunded ticket": ({"ticket": {"status": TicketStatus.REFUNDED}}, DenialReason.REFUNDED),
    "a cancelled ticket": ({"ticket": {"status": TicketStatus.CANCELLED}}, DenialReason.CANCELLED),
    "a blocked ticket": ({"ticket": {"status": TicketStatus.BLOCKED}}, DenialReason.BLOCKED),
    "a ticket denied for an unknown reason": ({"ticket": {"status": TicketStatus.UNKNOWN}}, DenialReason.UNKNOWN),
    "a type that this gate does not allow": ({"allowed": VIP_ONLY}, DenialReason.TICKET_TYPE_NOT_ALLOWED),
    "a moment before the doors open": ({"time": NOON - HOUR - MICROSECOND}, DenialReason.NOT_YET_VALID),
    "a moment after the end": ({"time": NOON + HOUR + MICROSECOND}, DenialReason.EXPIRED),
    "a day ticket on the day before": (
        {"ticket": {"valid_from_time": NOON + MICROSECOND, "valid_until_time": NOON + HOUR}},
        DenialReason.NOT_YET_VALID,
    ),
    "a day ticket on the day after": (
        {"ticket": {"valid_from_time": NOON - HOUR, "valid_until_time": NOON - MICROSECOND}},
        DenialReason.EXPIRED,
    ),
    "a second entry": ({"admission": INSIDE}, DenialReason.ALREADY_CHECKED_IN),
    "a second entry after leaving": ({"admission": OUTSIDE}, DenialReason.ALREADY_CHECKED_IN),
    "re-entry of somebody inside": (
        {"event": {"policy": AdmissionPolicy.RE_ENTRY}, "admission": INSIDE},
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "a second entry on one day": ({"event": DAILY, "admission": INSIDE}, DenialReason.ALREADY_CHECKED_IN),
    "a second entry on one day after leaving": (
        {"event": DAILY, "admission": OUTSIDE},
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "a second entry on a day that began by the clock of another zone": (
        {"event": DAILY_IN_BERLIN, "admission": INSIDE},
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "a second entry on a day that has begun at four": (
        {
            "event": {"policy": AdmissionPolicy.ONCE_PER_DAY, "valid_from_time": NOON - 9 * HOUR},
            "admission": INSIDE_SINCE_YESTERDAY,
        },
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "re-entry of somebody inside since yesterday, without a change of day": (
        {"event": {"policy": AdmissionPolicy.RE_ENTRY}, "admission": INSIDE_SINCE_YESTERDAY},
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "re-entry of somebody inside since today": (
        {"event": {"policy": AdmissionPolicy.RE_ENTRY, "day_change_hour": 10}, "admission": INSIDE},
        DenialReason.ALREADY_CHECKED_IN,
    ),
    "leaving without having come": ({"scan_type": ScanType.CHECK_OUT}, DenialReason.NOT_CHECKED_IN),
    "leaving twice": ({"scan_type": ScanType.CHECK_OUT, "admission": OUTSIDE}, DenialReason.NOT_CHECKED_IN),
    "an area without having come": ({"scan_type": ScanType.ACCESS}, DenialReason.NOT_CHECKED_IN),
    "an area after leaving": ({"scan_type": ScanType.ACCESS, "admission": OUTSIDE}, DenialReason.NOT_CHECKED_IN),
    "an area with a blocked ticket": (
        {"scan_type": ScanType.ACCESS, "admission": INSIDE, "ticket": {"status": TicketStatus.BLOCKED}},
        DenialReason.BLOCKED,
    ),
}

ADMITTED: dict[str, dict[str, Any]] = {
    "the plain case": {},
    "a token of an event that the replica has in draft": {"event": {"status": EventStatus.DRAFT}},
    "the moment the doors open": {"time": NOON - HOUR},
    "the last moment": {"time": NOON + HOUR},
    "a day ticket outside the event's hours": {
        "time": NOON + 2 * HOUR,
        "ticket": {"valid_from_time": NOON, "valid_until_time": NOON + 3 * HOUR},
    },
    "an issue newer than the replica": {"issue": 3},
    "a type that this gate allows": {"allowed": frozenset({TicketType.STANDARD})},
    "re-entry after leaving": {"event": {"policy": AdmissionPolicy.RE_ENTRY}, "admission": OUTSIDE},
    "entry on the next day, although nobody scanned the exit": {"event": DAILY, "admission": INSIDE_SINCE_YESTERDAY},
    "entry on the next day after leaving": {
        "event": DAILY,
        "admission": replace(INSIDE_SINCE_YESTERDAY, inside=False),
    },
    "entry on the next day by the clock of the event": {"event": DAILY_IN_BERLIN, "admission": INSIDE_SINCE_YESTERDAY},
    "re-entry on the next day, although nobody scanned the exit": {
        "event": {"policy": AdmissionPolicy.RE_ENTRY, "day_change_hour": 10},
        "admission": INSIDE_SINCE_YESTERDAY,
    },
    "leaving after the change of day": {
        "scan_type": ScanType.CHECK_OUT,
        "event": DAILY,
        "admission": INSIDE_SINCE_YESTERDAY,
    },
    "an area by somebody inside since yesterday": {
        "scan_type": ScanType.ACCESS,
        "event": DAILY,
        "admission": INSIDE_SINCE_YESTERDAY,
    },
    "unlimited entry of somebody inside": {"event": {"policy": AdmissionPolicy.UNLIMITED}, "admission": INSIDE},
    "leaving": {"scan_type": ScanType.CHECK_OUT, "admission": INSIDE},
    "leaving after the event was cancelled, with a ticket blocked meanwhile": {
        "scan_type": ScanType.CHECK_OUT,
        "admission": INSIDE,
        "event": {"closed": True},
        "ticket": {"status": TicketStatus.BLOCKED},
        "time": NOON + 9 * HOUR,
    },
    "an area by somebody inside": {"scan_type": ScanType.ACCESS, "admission": INSIDE},
    "an area of an event with unlimited entry": {
        "scan_type": ScanType.ACCESS,
        "event": {"policy": AdmissionPolicy.UNLIMITED},
    },
}
