"""Parsing of requests for one event, and conversion of its attendance to messages."""

from uuid import UUID

from scan_service.convert.callers import check_device_event
from scan_service.convert.enums import DENIAL_REASONS
from scan_service.domain.attendance import Attendance
from ticketing.chassis.authentication import Caller
from ticketing.chassis.parsing import read_uuid
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_service_pb2 as pb


def read_event_id(
    request: pb.GetAttendanceRequest | pb.WatchAttendanceRequest | pb.WatchAdmissionsRequest, caller: Caller
) -> UUID:
    """Read the event of a request.

    Raises:
        Failure: INVALID_ARGUMENT; FORBIDDEN for a device that is not for the event.
    """
    event_id = read_uuid(request, "event_id")
    check_device_event(caller, event_id)
    return event_id


def attendance_message(attendance: Attendance) -> pb.Attendance:
    """Build the message of an attendance."""
    counts = attendance.counts
    return pb.Attendance(
        tickets=counts.tickets,
        checked_in=counts.checked_in,
        inside=counts.inside,
        denials=[
            pb.DenialCount(reason=DENIAL_REASONS[reason], scans=count) for reason, count in counts.denials.items()
        ],
        locations=[
            pb.LocationCount(
                location=place.location,
                check_ins=place.check_ins,
                check_outs=place.check_outs,
                denied=place.denied,
                last_minute=place.last_minute,
            )
            for place in counts.locations
        ],
        as_of_time=timestamp(attendance.as_of_time),
    )
