"""Conversion of changes to messages of WatchAdmissions; the messages contain nothing that opens a gate."""

from datetime import datetime

from scan_service.convert.enums import ADMISSION_POLICIES, DENIAL_REASONS, EVENT_STATUSES, TICKET_TYPES
from scan_service.convert.scans import previous_message
from scan_service.domain.changes import Changes, GateRules
from ticketing.admission.decision import DENIAL_BY_STATUS
from ticketing.admission.tickets import Ticket
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.tickets.v1 import event_pb2, signing_key_pb2


def changes_message(changes: Changes, rules: GateRules | None, now: datetime) -> pb.WatchAdmissionsResponse:
    """Build the message of changes; `rules` is None where they did not change."""
    position = str(changes.cursor)
    is_page = changes.cursor.row is not None
    return pb.WatchAdmissionsResponse(
        rules=None if rules is None else _rules_message(rules),
        tickets=[ticket_message(ticket) for ticket, _ in changes.tickets],
        # A device uses its replica only once it is complete, and then begins with the cursor.
        cursor="" if is_page else position,
        page_cursor=position if is_page else "",
        restart=changes.restart,
        server_time=timestamp(now),
    )


def _rules_message(rules: GateRules) -> pb.GateRules:
    event = rules.event
    return pb.GateRules(
        event_name=event.name,
        status=event_pb2.EVENT_STATUS_CANCELLED if event.closed else EVENT_STATUSES[event.status],
        admission_policy=ADMISSION_POLICIES[event.policy],
        signing_keys=[
            signing_key_pb2.SigningKey(
                key_id=key_id,
                public_key=bytes(key.key),
                activate_time=timestamp(key.activate_time),
                retire_time=timestamp(key.retire_time),
            )
            for key_id, key in sorted(rules.keys.items())
        ],
        valid_from_time=timestamp(event.valid_from_time),
        valid_until_time=timestamp(event.valid_until_time),
        time_zone=event.time_zone,
        day_change_hour=event.day_change_hour,
    )


def ticket_message(ticket: Ticket) -> pb.TicketAdmission:
    """Build the message of a ticket and its admission state."""
    message = pb.TicketAdmission(
        ticket_id=ticket.ticket_id.bytes,
        valid_from_time=timestamp(ticket.valid_from_time),
        valid_until_time=timestamp(ticket.valid_until_time),
        issue=ticket.issue,
        check_in=previous_message(ticket.admission.latest_check_in),
        inside=ticket.admission.inside,
        purchase_id=b"" if ticket.purchase_id is None else ticket.purchase_id.bytes,
    )
    if ticket.ticket_type is not None:
        message.ticket_type = TICKET_TYPES[ticket.ticket_type]
    if ticket.status in DENIAL_BY_STATUS:
        message.denial_reason = DENIAL_REASONS[DENIAL_BY_STATUS[ticket.status]]
    return message
