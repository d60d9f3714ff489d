"""The servicer of EventService."""

from dataclasses import dataclass
from typing import Any, Final

from ticket_service.convert.cancellations import preview_message
from ticket_service.convert.enums import EVENT_STATUSES, EVENT_TYPES
from ticket_service.convert.event_input import new_event, read_paths, read_values
from ticket_service.convert.events import SETTABLE, event_message, sales_message, without_output_only
from ticket_service.convert.gate_replica import gate_replica_message, read_request
from ticket_service.domain.event_changes import EventChange
from ticket_service.domain.events import Event, EventStatus
from ticket_service.domain.queries import EventQuery
from ticket_service.use_cases.cancellation_preview import CancellationPreviews
from ticket_service.use_cases.event_cancellation import EventCancellations
from ticket_service.use_cases.events import Events
from ticket_service.use_cases.gate_replica import GateReplicas
from ticketing.chassis.callers import Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import FORBIDDEN, Failure
from ticketing.chassis.ids import new_id
from ticketing.chassis.interceptor import current_caller
from ticketing.chassis.paging import page_size, page_token, time_position
from ticketing.chassis.parsing import Fields, read_uuid
from ticketing.chassis.times import timestamp
from ticketing.tickets.v1 import event_pb2
from ticketing.tickets.v1 import event_service_pb2 as pb
from ticketing.tickets.v1.event_service_pb2_grpc import EventServiceServicer

_LIST: Final = "/ticketing.tickets.v1.EventService/ListEvents"


@dataclass(frozen=True, slots=True)
class EventUseCases:
    """The use cases that the servicer calls."""

    events: Events
    cancellations: EventCancellations
    previews: CancellationPreviews
    gate_replicas: GateReplicas


class EventServicer(EventServiceServicer):
    """Serves EventService; no offer may allow more than `max_per_purchase` tickets of one type in one purchase."""

    def __init__(self, use_cases: EventUseCases, clock: Clock, max_per_purchase: int) -> None:
        self._use = use_cases
        self._clock = clock
        self._max_per_purchase = max_per_purchase

    async def CreateEvent(self, request: pb.CreateEventRequest, _context: Any) -> pb.CreateEventResponse:  # noqa: N802 - the contract's name
        """Create a DRAFT event."""
        fields = Fields(request)
        request_id = fields.uuid("request_id")
        values = read_values(fields, SETTABLE, self._max_per_purchase)
        fields.check()
        event = new_event(new_id(), current_caller().subject, values, self._clock())
        content = without_output_only(request.event).SerializeToString(deterministic=True)
        stored = await self._use.events.create(current_caller(), request_id, event, content)
        return pb.CreateEventResponse(event=self._message(stored))

    async def GetEvent(self, request: pb.GetEventRequest, _context: Any) -> pb.GetEventResponse:  # noqa: N802 - the contract's name
        """Read one event."""
        event = await self._use.events.get(current_caller(), read_uuid(request, "event_id"))
        return pb.GetEventResponse(event=self._message(event))

    async def ListEvents(self, request: pb.ListEventsRequest, _context: Any) -> pb.ListEventsResponse:  # noqa: N802 - the contract's name
        """List events by start_time."""
        caller = current_caller()
        query = _read_query(request)
        if query.status is not EventStatus.PUBLISHED and not caller.is_any(Role.ORGANIZER, Role.OPERATOR):
            role = ",".join(sorted(caller.roles))
            raise Failure(
                FORBIDDEN, f"only organizers and operators may list {query.status} events", method=_LIST, role=role
            )
        bound_to = [caller.subject, query]
        size = page_size(request.page_size)
        after = time_position(request.page_token, bound_to)
        events = await self._use.events.list(caller, query, after, size + 1)
        response = pb.ListEventsResponse(events=[self._message(event) for event in events[:size]])
        if len(events) > size:
            last = events[size - 1]
            response.next_page_token = page_token([last.start_time.isoformat(), str(last.event_id)], bound_to)
        return response

    async def UpdateEvent(self, request: pb.UpdateEventRequest, _context: Any) -> pb.UpdateEventResponse:  # noqa: N802 - the contract's name
        """Change the fields that the mask names."""
        fields = Fields(request)
        event_id = fields.inside("event", request.event).uuid("event_id")
        paths = read_paths(fields)
        values = read_values(fields, paths, self._max_per_purchase)
        fields.check()
        change = EventChange(event_id, request.event.etag, paths, values)
        event, full_refund_until = await self._use.events.update(current_caller(), change)
        return pb.UpdateEventResponse(event=self._message(event), full_refund_until_time=timestamp(full_refund_until))

    async def PublishEvent(self, request: pb.PublishEventRequest, _context: Any) -> pb.PublishEventResponse:  # noqa: N802 - the contract's name
        """Put a DRAFT on sale."""
        event = await self._use.events.publish(current_caller(), read_uuid(request, "event_id"))
        return pb.PublishEventResponse(event=self._message(event))

    async def CancelEvent(self, request: pb.CancelEventRequest, _context: Any) -> pb.CancelEventResponse:  # noqa: N802 - the contract's name
        """Cancel an event."""
        fields = Fields(request)
        event_id, reason = fields.uuid("event_id"), fields.text("reason")
        fields.check()
        event, gates_closed = await self._use.cancellations.cancel(current_caller(), event_id, reason)
        return pb.CancelEventResponse(event=self._message(event), gates_closed=gates_closed)

    async def PreviewEventCancellation(  # noqa: N802 - the contract's name
        self, request: pb.PreviewEventCancellationRequest, _context: Any
    ) -> pb.PreviewEventCancellationResponse:
        """Sum up what CancelEvent would do."""
        return preview_message(await self._use.previews.preview(current_caller(), read_uuid(request, "event_id")))

    async def GetEventSales(self, request: pb.GetEventSalesRequest, _context: Any) -> pb.GetEventSalesResponse:  # noqa: N802 - the contract's name
        """Sum up an event's sales."""
        return sales_message(await self._use.events.sales(current_caller(), read_uuid(request, "event_id")))

    async def GetGateReplica(self, request: pb.GetGateReplicaRequest, _context: Any) -> pb.GetGateReplicaResponse:  # noqa: N802 - the contract's name
        """Compare the gates with the newest state."""
        return gate_replica_message(await self._use.gate_replicas.get(current_caller(), *read_request(request)))

    def _message(self, event: Event) -> event_pb2.Event:
        return event_message(event, self._clock())


def _read_query(request: pb.ListEventsRequest) -> EventQuery:
    fields = Fields(request)
    query = EventQuery(
        status=fields.enum("status", EVENT_STATUSES, EventStatus.PUBLISHED),
        event_type=fields.optional_enum("event_type", EVENT_TYPES),
        min_start_time=fields.optional_time("min_start_time"),
    )
    fields.check()
    return query
