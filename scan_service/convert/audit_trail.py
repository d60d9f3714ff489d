"""Conversion of the audit trail to messages, and parsing of the requests of GateChangeService."""

from collections.abc import Sequence
from typing import Final

from google.protobuf import json_format

from scan_service.convert.callers import own_organizer
from scan_service.domain.audit_trail import ChangeKind, ChangeQuery, RecordedChange
from ticketing.chassis.callers import Caller
from ticketing.chassis.paging import id_position, page_size, page_token
from ticketing.chassis.parsing import Fields
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import gate_change_pb2
from ticketing.scans.v1 import gate_change_service_pb2 as pb

CHANGE_KINDS: Final = {kind: gate_change_pb2.ChangeKind.Value(f"CHANGE_KIND_{kind}") for kind in ChangeKind}


def read_changes_query(request: pb.ListChangesRequest, caller: Caller) -> ChangeQuery:
    """Read the filter and the page of a ListChangesRequest."""
    fields = Fields(request)
    event_id, device_id = fields.optional_uuid("event_id"), fields.optional_uuid("device_id")
    ticket_id, changed_by = fields.optional_uuid("ticket_id"), fields.text("caller")
    fields.check()
    before = id_position(request.page_token, _filter(request, caller))
    size = page_size(request.page_size)
    return ChangeQuery(own_organizer(caller), event_id, device_id, ticket_id, changed_by, size, before)


def changes_response(
    request: pb.ListChangesRequest, caller: Caller, query: ChangeQuery, found: Sequence[RecordedChange]
) -> pb.ListChangesResponse:
    """Build a page; one change more than its size means that another page follows."""
    page, more = found[: query.size], found[query.size :]
    token = page_token((str(page[-1].change_id),), _filter(request, caller)) if more else ""
    return pb.ListChangesResponse(changes=[_message(one) for one in page], next_page_token=token)


def _filter(request: pb.ListChangesRequest, caller: Caller) -> tuple[object, ...]:
    return (caller.subject, request.event_id, request.device_id, request.ticket_id, request.caller)


def _message(recorded: RecordedChange) -> gate_change_pb2.Change:
    change = recorded.change
    message = gate_change_pb2.Change(
        change_id=str(recorded.change_id),
        event_id=str(change.event_id or ""),
        kind=CHANGE_KINDS[change.kind],
        device_id=str(change.device_id or ""),
        ticket_id=str(change.ticket_id or ""),
        scan_id=str(change.scan_id or ""),
        caller=recorded.caller,
        roles=recorded.roles,
        request_id=recorded.request_id,
        create_time=timestamp(recorded.create_time),
    )
    json_format.ParseDict(dict(change.details), message.details)
    return message
