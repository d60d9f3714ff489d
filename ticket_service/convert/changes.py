"""Conversion of the audit trail to messages, and parsing of the requests of ChangeService."""

from typing import Final

from google.protobuf import json_format

from ticket_service.domain.changes import ChangeKind, RecordedChange
from ticket_service.domain.queries import ChangeQuery
from ticketing.chassis.paging import page_size
from ticketing.chassis.parsing import NIL, Fields
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import change_pb2
from ticketing.tickets.v1 import change_service_pb2 as pb

CHANGE_KINDS: Final = {kind: change_pb2.ChangeKind.Value(f"CHANGE_KIND_{kind}") for kind in ChangeKind}


def change_message(recorded: RecordedChange) -> change_pb2.Change:
    """Build the message of a change."""
    change = recorded.change
    message = change_pb2.Change(
        change_id=str(recorded.change_id),
        event_id="" if change.event_id == NIL else str(change.event_id),
        kind=CHANGE_KINDS[change.kind],
        purchase_id=str(change.purchase_id or ""),
        ticket_id=str(change.ticket_id or ""),
        caller=recorded.caller,
        roles=recorded.roles,
        request_id=recorded.request_id,
        create_time=timestamp(recorded.create_time),
    )
    json_format.ParseDict(dict(change.details), message.details)
    return message


def read_list(request: pb.ListChangesRequest) -> tuple[ChangeQuery, int]:
    """Read the filter and the page size of a ListChangesRequest."""
    fields = Fields(request)
    query = ChangeQuery(
        event_id=fields.optional_uuid("event_id"),
        purchase_id=fields.optional_uuid("purchase_id"),
        ticket_id=fields.optional_uuid("ticket_id"),
        caller=fields.text("caller"),
    )
    fields.check()
    return query, page_size(request.page_size)
