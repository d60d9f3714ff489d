"""Parsing of requests for one event, and conversion of its attendance to messages."""

from uuid import UUID

from scan_service.convert.callers import check_device_event
from scan_service.convert.enums import DENIAL_REASONS, TICKET_TYPES
from scan_service.domain.attendance import Attendance, TypeCounts
from ticketing.chassis.callers import Caller
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
        tickets=sum(kind.tickets for kind in counts.types),
        checked_in=sum(kind.checked_in for kind in counts.types),
        inside=sum(kind.inside for kind in counts.types),
        ticket_types=sorted(map(_type_message, counts.types), key=lambda message: message.ticket_type),
        denials=[
            pb.DenialCount(reason=DENIAL_REASONS[reason], scans=count) for reason, count in counts.denials.items()
        ],
        locations=[
            pb.LocationCount(
                location=place.location,
                check_ins=place.check_ins,
                check_outs=place.check_outs,
                accesses=place.accesses,
                denied=place.denied,
                last_minute=place.last_minute,
            )
            for place in counts.locations
        ],
        as_of_time=timestamp(attendance.as_of_time),
    )


def _type_message(counts: TypeCounts) -> pb.TicketTypeCount:
    message = pb.TicketTypeCount(tickets=counts.tickets, checked_in=counts.checked_in, inside=counts.inside)
    if counts.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[counts.ticket_type]
    return message
