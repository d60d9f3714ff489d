"""The messages of GetAttendance and WatchAttendance."""

from uuid import UUID

from scan_service.convert.enums import DENIAL_REASONS
from scan_service.convert.scans import check_bounds
from scan_service.domain.attendance import Attendance
from ticketing.chassis.authentication import Caller
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_service_pb2 as pb


def read_event_id(
    request: pb.GetAttendanceRequest | pb.WatchAttendanceRequest | pb.WatchAdmissionsRequest, caller: Caller
) -> UUID:
    """Read which event is asked for.

    Raises:
        Failure: INVALID_ARGUMENT; FORBIDDEN for a device that is not for it.
    """
    fields = Fields()
    event_id = fields.uuid("event_id", request.event_id)
    fields.check()
    check_bounds(caller, event_id)
    return event_id


def attendance_message(attendance: Attendance) -> pb.Attendance:
    """Write how it stands."""
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
