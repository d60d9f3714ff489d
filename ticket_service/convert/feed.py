"""The feed's requests and responses."""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, TICKET_STATUSES, TICKET_TYPES
from ticket_service.domain.check_ins import CheckIn, Conflict
from ticket_service.domain.feed import GateEvent, GateTicket, Page
from ticket_service.domain.incidents import Incident
from ticket_service.store.keys import PublicKey
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb
from ticketing.tickets.v1 import signing_key_pb2, ticket_pb2

MAX_CHECK_INS: Final = 1_000
MAX_INCIDENTS: Final = 1_000
MAX_KIND: Final = 50
_NAME: Final = re.compile(r"[A-Z]+(_[A-Z]+)*")
MAX_LOCATION: Final = 100
MAX_SCANS: Final = 2**31 - 1
MAX_REVISION: Final = 2**63 - 1
MAX_EVENTS: Final = 1_000


def read_watch(request: pb.WatchTicketsRequest) -> tuple[dict[UUID, int], int]:
    """Return the cursors, which are the last revision seen of each event, and how many events a response may tell of."""
    fields = Fields()
    cursors = {
        fields.uuid("after_revisions", event_id): fields.number(
            f'after_revisions["{event_id}"]', revision, minimum=0, maximum=MAX_REVISION
        )
        for event_id, revision in request.after_revisions.items()
    }
    max_events = fields.number("max_events", request.max_events, minimum=0, maximum=MAX_EVENTS)
    fields.check()
    return cursors, max(max_events, 1)


def watch_response(epoch: str, pages: Sequence[Page]) -> pb.WatchTicketsResponse:
    """Build the message of pages, at least one."""
    first, *others = [_changes(page) for page in pages]
    return pb.WatchTicketsResponse(
        event=first.event, tickets=first.tickets, revision=first.revision, epoch=epoch, others=others
    )


def _changes(page: Page) -> pb.EventChanges:
    return pb.EventChanges(
        event=_gate_event(page.event),
        tickets=[_gate_ticket(ticket) for ticket in page.tickets],
        revision=page.revision,
    )


def _gate_event(event: GateEvent) -> pb.GateEvent:
    return pb.GateEvent(
        event_id=str(event.event_id),
        name=event.name,
        status=EVENT_STATUSES[event.status],
        admission_policy=ADMISSION_POLICIES[event.admission_policy],
        valid_from_time=timestamp(event.valid_from_time),
        valid_until_time=timestamp(event.valid_until_time),
        organizer_id=event.organizer_id,
        revision=event.changed_revision,
    )


def _gate_ticket(ticket: GateTicket) -> pb.GateTicket:
    return pb.GateTicket(
        ticket_id=ticket.ticket_id,
        code_digest=ticket.code_digest,
        ticket_type=TICKET_TYPES[ticket.ticket_type],
        status=TICKET_STATUSES[ticket.status],
        valid_from_time=timestamp(ticket.valid_from_time),
        valid_until_time=timestamp(ticket.valid_until_time),
        token_digest=ticket.token_digest or b"",
        issue=ticket.issue,
        revision=ticket.revision,
    )


def keys_response(keys: list[PublicKey]) -> pb.GetSigningKeysResponse:
    """Build the message of the public keys."""
    return pb.GetSigningKeysResponse(
        keys=[
            signing_key_pb2.SigningKey(
                key_id=key.key_id,
                public_key=key.public_key,
                activate_time=timestamp(key.activate_time),
                retire_time=timestamp(key.retire_time),
            )
            for key in keys
        ]
    )


def read_check_ins(request: pb.ReportCheckInsRequest) -> list[CheckIn]:
    """Read what check-in of each ticket stands."""
    fields = Fields()
    if len(request.check_ins) > MAX_CHECK_INS:
        fields.violate("check_ins", f"holds more than {MAX_CHECK_INS}")
        fields.check()
    check_ins = [
        CheckIn(
            event_id=fields.uuid(f"check_ins[{i}].event_id", message.event_id),
            ticket_id=fields.uuid(f"check_ins[{i}].ticket_id", message.ticket_id),
            check_in_time=fields.time(f"check_ins[{i}].check_in_time", message.check_in_time)
            if message.HasField("check_in_time")
            else None,
            sequence=fields.number(f"check_ins[{i}].sequence", message.sequence, minimum=1, maximum=MAX_REVISION),
        )
        for i, message in enumerate(request.check_ins)
    ]
    fields.check()
    return check_ins


def check_ins_response(conflicts: list[Conflict]) -> pb.ReportCheckInsResponse:
    """Build the message of the conflicts."""
    return pb.ReportCheckInsResponse(
        conflicts=[
            pb.CheckInConflict(
                event_id=str(conflict.check_in.event_id),
                ticket_id=str(conflict.check_in.ticket_id),
                status=TICKET_STATUSES[conflict.status] if conflict.status else ticket_pb2.TICKET_STATUS_UNSPECIFIED,
            )
            for conflict in conflicts
        ]
    )


def read_incidents(request: pb.ReportIncidentsRequest) -> list[Incident]:
    """Read which incidents there are."""
    fields = Fields()
    if len(request.incidents) > MAX_INCIDENTS:
        fields.violate("incidents", f"holds more than {MAX_INCIDENTS}")
        fields.check()
    incidents = [_read_incident(fields, f"incidents[{i}]", message) for i, message in enumerate(request.incidents)]
    fields.check()
    return incidents


def _read_incident(fields: Fields, at: str, message: pb.ReportedIncident) -> Incident:
    return Incident(
        event_id=fields.uuid(f"{at}.event_id", message.event_id),
        incident_id=fields.uuid(f"{at}.incident_id", message.incident_id),
        kind=_kind(fields, f"{at}.kind", message.kind),
        ticket_id=fields.optional_uuid(f"{at}.ticket_id", message.ticket_id),
        create_time=fields.time(f"{at}.create_time", message.create_time),
        scan_count=fields.number(f"{at}.scan_count", message.scan_count, minimum=1, maximum=MAX_SCANS),
        location=fields.text(f"{at}.location", message.location, max_length=MAX_LOCATION),
    )


def _kind(fields: Fields, at: str, value: str) -> str:
    """Read the name of a kind. It goes into logs, so it may not be just any text: a ticket's code, for example."""
    kind = fields.text(at, value, min_length=1, max_length=MAX_KIND)
    if not fields.at_fault(at) and not _NAME.fullmatch(kind):
        fields.violate(at, "is not a name of capitals and underscores")
    return kind
