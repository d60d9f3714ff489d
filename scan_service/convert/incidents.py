"""Parsing of ListIncidents requests, and conversion of incidents to messages."""

from collections.abc import Sequence

from scan_service.convert.callers import own_organizer
from scan_service.convert.enums import INCIDENT_KINDS
from scan_service.convert.scans import scan_message_for
from scan_service.domain.incidents import Incident, IncidentQuery
from ticketing.chassis.callers import Caller
from ticketing.chassis.paging import id_position, page_size, page_token
from ticketing.chassis.parsing import read_uuid
from ticketing.chassis.times import timestamp
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb


def read_incidents_query(request: pb.ListIncidentsRequest, caller: Caller) -> IncidentQuery:
    """Read the filter and the page of a ListIncidentsRequest."""
    event_id = read_uuid(request, "event_id")
    size, after = page_size(request.page_size), id_position(request.page_token, (request.event_id,))
    return IncidentQuery(event_id, own_organizer(caller), size, after)


def incidents_response(
    request: pb.ListIncidentsRequest, caller: Caller, query: IncidentQuery, incidents: Sequence[Incident]
) -> pb.ListIncidentsResponse:
    """Build a page for `caller`; one incident more than its size means that another page follows."""
    page, more = incidents[: query.size], incidents[query.size :]
    token = page_token((str(page[-1].incident_id),), (request.event_id,)) if more else ""
    return pb.ListIncidentsResponse(incidents=[_message(caller, incident) for incident in page], next_page_token=token)


def _message(caller: Caller, incident: Incident) -> scan_pb2.Incident:
    return scan_pb2.Incident(
        incident_id=str(incident.incident_id),
        kind=INCIDENT_KINDS[incident.kind],
        event_id=str(incident.event_id),
        ticket_id="" if incident.ticket_id is None else str(incident.ticket_id),
        scans=[scan_message_for(caller, scan) for scan in incident.scans],
        create_time=timestamp(incident.create_time),
    )
