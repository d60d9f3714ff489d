"""Conversion of the feed's messages.

The ticket service is trusted, so its messages are not checked. A value that only a newer ticket service has is read as
one that denies, and the log says so.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from scan_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, TICKET_STATUSES, TICKET_TYPES
from scan_service.domain.feed import CheckInConflict, CheckInReport, FeedPage, FeedPosition, IncidentReport
from ticketing.admission.tickets import AdmissionPolicy, Event, EventStatus, Ticket, TicketStatus
from ticketing.chassis.ids import read_id
from ticketing.chassis.parsing import EPOCH
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb

log = logging.getLogger(__name__)

_EVENT_STATUSES: Final = {number: status for status, number in EVENT_STATUSES.items()}
_POLICIES: Final = {number: policy for policy, number in ADMISSION_POLICIES.items()}
_TICKET_TYPES: Final = {number: kind for kind, number in TICKET_TYPES.items()}
_TICKET_STATUSES: Final = {number: status for status, number in TICKET_STATUSES.items()}
# The events of one message: the number that the ticket service reads together.
MAX_EVENTS: Final = 256


def pages_of(message: pb.WatchTicketsResponse) -> Sequence[FeedPage]:
    """Read a batch of changes, of one event or of several."""
    messages: list[pb.WatchTicketsResponse | pb.EventChanges] = [message, *message.others]
    return [_page(changes, message.epoch) for changes in messages]


def _page(message: pb.WatchTicketsResponse | pb.EventChanges, epoch: str) -> FeedPage:
    event = message.event
    event_id = read_id(event.event_id)
    return FeedPage(
        event=Event(
            event_id=event_id,
            organizer_id=event.organizer_id,
            name=event.name,
            # COMPLETED admits nobody; DRAFT admits tokens.
            status=_EVENT_STATUSES.get(event.status, EventStatus.COMPLETED),
            policy=_POLICIES.get(event.admission_policy, AdmissionPolicy.SINGLE_ENTRY),
            valid_from_time=_time(event.valid_from_time),
            valid_until_time=_time(event.valid_until_time),
            closed=False,
            # A ticket service of the version before sends none.
            time_zone=event.time_zone or "UTC",
            day_change_hour=event.day_change_hour if event.HasField("day_change_hour") else None,
        ),
        event_revision=event.revision,
        tickets=[(_ticket_of(event_id, ticket), ticket.revision) for ticket in message.tickets],
        revision=message.revision,
        epoch=epoch,
    )


def key_rows(message: pb.GetSigningKeysResponse) -> list[dict[str, Any]]:
    """Read the public keys as rows of signing_keys."""
    return [
        {
            "key_id": key.key_id,
            "public_key": key.public_key,
            "activate_time": _time(key.activate_time),
            "retire_time": _time(key.retire_time) if key.HasField("retire_time") else None,
        }
        for key in message.keys
    ]


def signing_keys_request() -> pb.GetSigningKeysRequest:
    """Build the request for the public keys."""
    return pb.GetSigningKeysRequest()


def watch_request(position: FeedPosition) -> pb.WatchTicketsRequest:
    """Build the request for all changes after `position`."""
    return pb.WatchTicketsRequest(after_revisions=position.revisions, epoch=position.epoch, max_events=MAX_EVENTS)


def check_ins_request() -> pb.ReportCheckInsRequest:
    """Build a report without check-ins, which `add_check_ins` adds."""
    return pb.ReportCheckInsRequest(skip_locked=True)


def add_check_ins(request: pb.ReportCheckInsRequest, check_ins: Sequence[CheckInReport]) -> None:
    """Add the first effective check-in of each ticket to a report."""
    request.check_ins.extend(
        pb.CheckIn(
            event_id=check_in.event_id,
            ticket_id=check_in.ticket_id,
            check_in_time=timestamp(check_in.check_in_time),
            sequence=check_in.sequence,
        )
        for check_in in check_ins
    )


def incidents_request(incidents: Sequence[IncidentReport]) -> pb.ReportIncidentsRequest:
    """Build the report of incidents."""
    return pb.ReportIncidentsRequest(
        incidents=[
            pb.ReportedIncident(
                event_id=incident.event_id,
                incident_id=incident.incident_id,
                kind=incident.kind,
                ticket_id=incident.ticket_id or "",
                create_time=timestamp(incident.create_time),
                scan_count=incident.scan_count,
                location=incident.location,
            )
            for incident in incidents
        ]
    )


def conflict_of(message: pb.CheckInConflict) -> CheckInConflict:
    """Read a conflict."""
    return CheckInConflict(UUID(message.event_id), UUID(message.ticket_id), _TICKET_STATUSES.get(message.status))


def _ticket_of(event_id: UUID, message: pb.GateTicket) -> Ticket:
    return Ticket(
        event_id=event_id,
        ticket_id=read_id(message.ticket_id),
        ticket_type=_TICKET_TYPES.get(message.ticket_type),
        status=_ticket_status(message),
        valid_from_time=_time(message.valid_from_time) if message.HasField("valid_from_time") else None,
        valid_until_time=_time(message.valid_until_time) if message.HasField("valid_until_time") else None,
        issue=message.issue,
        code_digest=message.code_digest,
        token_digest=message.token_digest or None,
        # A ticket service of the version before sends none.
        purchase_id=read_id(message.purchase_id) if message.purchase_id else None,
    )


def _ticket_status(message: pb.GateTicket) -> TicketStatus:
    status = _TICKET_STATUSES.get(message.status)
    if status is None:
        # The database contains only statuses that every version has.
        _warn_of_status(message.status)
        return TicketStatus.BLOCKED
    return status


@cache
def _warn_of_status(number: int) -> None:
    """Log an unknown status once per process: every ticket of a feed may have it."""
    log.warning("tickets have a status that only a newer version has; gates deny them", extra={"status": number})


def _time(message: Timestamp) -> datetime:
    # Timestamp.ToDatetime does the same in Python and takes four times as long.
    return EPOCH + timedelta(0, message.seconds, message.nanos // 1_000)
