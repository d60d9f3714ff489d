"""Parsing of the requests of TicketFeedService, and conversion of its answers to messages."""

import re
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from ticket_service.convert.enums import ADMISSION_POLICIES, EVENT_STATUSES, TICKET_STATUSES, TICKET_TYPES
from ticket_service.domain.check_ins import CheckIn, CheckInConflict
from ticket_service.domain.feed import GateEvent, GateTicket, Page
from ticket_service.domain.gate_devices import GateDevice
from ticket_service.domain.incidents import Incident
from ticket_service.domain.tokens import PublicKey
from ticketing.chassis.parsing import EPOCH, NIL, Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import signing_key_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_feed_service_pb2 as pb

DEFAULT_LIMIT: Final = 1_000
_CONSTANT_NAME: Final = re.compile(r"[A-Z]+(_[A-Z]+)*")


def read_watch(request: pb.WatchTicketsRequest) -> tuple[dict[UUID, int], int]:
    """Read the last revision that the caller has of each event, and the largest number of events in a response."""
    fields = Fields(request)
    cursors = {
        fields.uuid("after_revisions", event_id): fields.number("after_revisions", revision, f'["{event_id}"]')
        for event_id, revision in request.after_revisions.items()
    }
    max_events = fields.number("max_events")
    fields.check()
    return cursors, max(max_events, 1)


def watch_response(epoch: str, pages: Sequence[Page]) -> pb.WatchTicketsResponse:
    """Build the response of one page or more."""
    first, *others = [_changes(page) for page in pages]
    return pb.WatchTicketsResponse(
        event=first.event, tickets=first.tickets, revision=first.revision, epoch=epoch, others=others
    )


def _changes(page: Page) -> pb.EventChanges:
    return pb.EventChanges(
        event=_gate_event(page.event), tickets=[_gate_ticket(ticket) for ticket in page.tickets], revision=page.revision
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
        time_zone=event.time_zone,
        day_change_hour=event.day_change_hour,
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
        purchase_id=ticket.purchase_id,
    )


def keys_response(keys: list[PublicKey]) -> pb.GetSigningKeysResponse:
    """Build the response with the public keys."""
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
    """Read a ReportCheckInsRequest."""
    fields = Fields(request)
    check_ins = [
        CheckIn(
            event_id=report.uuid("event_id"),
            ticket_id=report.uuid("ticket_id"),
            check_in_time=report.optional_time("check_in_time"),
            sequence=report.number("sequence"),
        )
        for report in fields.each("check_ins", request.check_ins)
    ]
    fields.check()
    return check_ins


def check_ins_response(
    reports: Sequence[CheckIn], conflicts: Sequence[CheckInConflict], locked: Collection[tuple[UUID, UUID]]
) -> pb.ReportCheckInsResponse:
    """Build the response with the impossible check-ins, and the positions of the reports of locked tickets."""
    return pb.ReportCheckInsResponse(
        locked=[n for n, report in enumerate(reports) if (report.event_id, report.ticket_id) in locked],
        conflicts=[
            pb.CheckInConflict(
                event_id=str(conflict.check_in.event_id),
                ticket_id=str(conflict.check_in.ticket_id),
                status=TICKET_STATUSES[conflict.status] if conflict.status else ticket_pb2.TICKET_STATUS_UNSPECIFIED,
            )
            for conflict in conflicts
        ],
    )


def read_check_ins_page(request: pb.ListCheckInsRequest) -> tuple[tuple[UUID, UUID], int]:
    """Read the event and the ticket after which a page of check-ins begins, and the largest number of check-ins."""
    fields = Fields(request)
    after = (fields.optional_uuid("after_event_id") or NIL, fields.optional_uuid("after_ticket_id") or NIL)
    limit = fields.number("max_check_ins") or DEFAULT_LIMIT
    fields.check()
    return after, limit


def check_ins_page(check_ins: Sequence[CheckIn]) -> pb.ListCheckInsResponse:
    """Build a page of check-ins."""
    return pb.ListCheckInsResponse(
        check_ins=[
            pb.CheckIn(
                event_id=str(one.event_id),
                ticket_id=str(one.ticket_id),
                check_in_time=timestamp(one.check_in_time),
                sequence=one.sequence,
            )
            for one in check_ins
        ]
    )


def read_devices(request: pb.ReportDevicesRequest) -> list[GateDevice]:
    """Read reported gate devices."""
    fields = Fields(request)
    devices = [
        GateDevice(device.uuid("device_id"), device.time("update_time"), device.text("state"))
        for device in fields.each("devices", request.devices)
    ]
    fields.check()
    return devices


def read_devices_page(request: pb.ListReportedDevicesRequest) -> tuple[UUID, int]:
    """Read the device after which a page begins, and the largest number of devices."""
    fields = Fields(request)
    after, limit = fields.optional_uuid("after_device_id") or NIL, fields.number("max_devices") or DEFAULT_LIMIT
    fields.check()
    return after, limit


def devices_page(devices: Sequence[GateDevice]) -> pb.ListReportedDevicesResponse:
    """Build a page of gate devices."""
    return pb.ListReportedDevicesResponse(
        devices=[
            pb.ReportedDevice(device_id=str(one.device_id), update_time=timestamp(one.update_time), state=one.state)
            for one in devices
        ]
    )


def read_incidents(request: pb.ReportIncidentsRequest) -> list[Incident]:
    """Read a ReportIncidentsRequest."""
    fields = Fields(request)
    incidents = [
        Incident(
            event_id=report.uuid("event_id"),
            incident_id=report.uuid("incident_id"),
            kind=_kind(report),
            ticket_id=report.optional_uuid("ticket_id"),
            create_time=report.optional_time("create_time") or EPOCH,
            scan_count=report.number("scan_count"),
            location=report.text("location"),
        )
        for report in fields.each("incidents", request.incidents)
    ]
    fields.check()
    return incidents


def _kind(fields: Fields[pb.ReportedIncident]) -> str:
    """Read the name of a kind. The log shows the name, so it must not be a ticket's code."""
    kind = fields.text("kind")
    if not fields.at_fault("kind") and not _CONSTANT_NAME.fullmatch(kind):
        fields.violate("kind", "is not a name of capitals and underscores")
    return kind
