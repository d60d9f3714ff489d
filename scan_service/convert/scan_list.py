"""Parsing of ListScans requests, and conversion of a page to a message."""

from collections.abc import Sequence
from typing import Final

from scan_service.convert.callers import own_organizer
from scan_service.convert.enums import VERDICTS
from scan_service.convert.scans import scan_message_for
from ticketing.admission.scanned_text import sanitize_text
from ticketing.admission.scans import Scan, ScanQuery
from ticketing.chassis.callers import Caller
from ticketing.chassis.paging import page_size, page_token, time_position
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_service_pb2 as pb

MAX_PAGE_SIZE: Final = 1_000


def read_query(request: pb.ListScansRequest, caller: Caller) -> ScanQuery:
    """Read the filter and the page of a ListScansRequest."""
    fields = Fields(request)
    device_id, code = fields.text("device_id"), fields.text("code")
    event_id = fields.uuid("event_id")
    ticket_id = fields.optional_uuid("ticket_id")
    verdict = fields.optional_enum("verdict", VERDICTS)
    fields.check()
    return ScanQuery(
        event_id=event_id,
        organizer_id=own_organizer(caller),
        ticket_id=ticket_id,
        device_id=device_id,
        verdict=verdict,
        code=sanitize_text(code) if code else "",
        size=page_size(request.page_size, max_size=MAX_PAGE_SIZE),
        after=time_position(request.page_token, _filter(request)),
    )


def list_response(
    request: pb.ListScansRequest, caller: Caller, query: ScanQuery, scans: Sequence[Scan]
) -> pb.ListScansResponse:
    """Build a page for `caller`; one scan more than its size means that another page follows."""
    page, more = scans[: query.size], scans[query.size :]
    token = ""
    if more:
        token = page_token((page[-1].record_time.isoformat(), str(page[-1].scan_id)), _filter(request))
    return pb.ListScansResponse(scans=[scan_message_for(caller, scan) for scan in page], next_page_token=token)


def _filter(request: pb.ListScansRequest) -> tuple[object, ...]:
    return (request.event_id, request.ticket_id, request.device_id, request.verdict, request.code)
