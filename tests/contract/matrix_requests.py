"""The requests of the matrix, about the caller's own, a foreign or a missing object."""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tests.contract.matrix_world import OWN, World
from tests.selling.shop import event, money, new_id
from ticketing.scans.v1 import device_service_pb2, revocation_service_pb2, scan_service_pb2
from ticketing.tickets.v1 import (
    event_pb2,
    event_service_pb2,
    purchase_service_pb2,
    ticket_feed_service_pb2,
    ticket_pb2,
    ticket_service_pb2,
)

Ask = Callable[[World, str], Awaitable[Message]]
tickets_pb, events_pb, purchases_pb = ticket_service_pb2, event_service_pb2, purchase_service_pb2
devices_pb, scans_pb, revocations_pb = device_service_pb2, scan_service_pb2, revocation_service_pb2


async def update_event(w: World, side: str) -> Message:
    changed = event_pb2.Event(event_id=await w.event(side), description="Louder")
    return events_pb.UpdateEventRequest(event=changed, update_mask=FieldMask(paths=["description"]))


async def confirm_purchase(w: World, side: str) -> Message:
    held = await w.hold(side)
    return purchases_pb.ConfirmPurchaseRequest(purchase_id=held, external_payment_id=new_id(), paid=money(2_500))


async def own_order(w: World, side: str) -> Message:
    order = await w.order(side)
    order.ClearField("external_payment_id")
    return order


async def transfer(w: World, side: str) -> Message:
    return tickets_pb.TransferTicketRequest(ticket_id=await w.ticket(side), user_id="carol", request_id=new_id())


async def list_tickets(w: World, side: str) -> Message:
    await w.purchase_id(side)
    return tickets_pb.ListTicketsRequest(event_id=await w.event(side))


async def list_purchases(w: World, side: str) -> Message:
    await w.purchase_id(side)
    return purchases_pb.ListPurchasesRequest(event_id=await w.event(side))


async def list_cancellations(w: World, side: str) -> Message:
    await w.cancellation(side)
    return tickets_pb.ListCancellationsRequest(event_id=await w.event(side))


async def list_drafts(w: World, side: str) -> Message:
    await w.draft(side)
    return events_pb.ListEventsRequest(status=event_pb2.EVENT_STATUS_DRAFT)


async def list_scans(w: World, side: str) -> Message:
    await w.scan(side)
    return scans_pb.ListScansRequest(event_id=(await w.gate(side)).event_id)


async def list_devices(w: World, side: str) -> Message:
    await w.device(OWN)
    return devices_pb.ListDevicesRequest()


async def scan(w: World, side: str) -> Message:
    attempt = scans_pb.ScanAttempt(scan_id=new_id(), code="TKT-0123456789ABCDEF")
    return scans_pb.ScanTicketRequest(gate=await w.gate(side), attempt=attempt)


async def validate_anywhere(w: World, side: str) -> Message:
    request = scans_pb.ValidateTicketRequest(code=await w.shown_code(side))
    request.gate.location = "Desk"
    return request


async def revoke_tickets(w: World, side: str) -> Message:
    revocation = revocations_pb.Revocation(
        revocation_id=new_id(), ticket_id=new_id(), status=ticket_pb2.TICKET_STATUS_CANCELLED, issue=1
    )
    gate = await w.gate(side)
    return revocations_pb.RevokeTicketsRequest(event_id=gate.event_id, revocations=[revocation])


REQUESTS: dict[str, Ask] = {
    "EventService/CreateEvent": lambda w, s: now(
        events_pb.CreateEventRequest(request_id=new_id(), event=event(w.shop.now))
    ),
    "EventService/GetEvent": lambda w, s: then(w.event(s), lambda i: events_pb.GetEventRequest(event_id=i)),
    "EventService/GetEvent draft": lambda w, s: then(w.draft(s), lambda i: events_pb.GetEventRequest(event_id=i)),
    "EventService/ListEvents": lambda w, s: then(w.event(OWN), lambda i: events_pb.ListEventsRequest()),
    "EventService/ListEvents draft": list_drafts,
    "EventService/UpdateEvent": update_event,
    "EventService/PublishEvent": lambda w, s: then(w.draft(s), lambda i: events_pb.PublishEventRequest(event_id=i)),
    "EventService/CancelEvent": lambda w, s: then(
        w.event(s), lambda i: events_pb.CancelEventRequest(event_id=i, reason="Rain")
    ),
    "EventService/GetEventSales": lambda w, s: then(w.event(s), lambda i: events_pb.GetEventSalesRequest(event_id=i)),
    "PurchaseService/PurchaseTickets": own_order,
    "PurchaseService/PurchaseTickets paid": lambda w, s: w.order(s),
    "PurchaseService/ConfirmPurchase": confirm_purchase,
    "PurchaseService/ReleasePurchase": lambda w, s: then(
        w.hold(s), lambda i: purchases_pb.ReleasePurchaseRequest(purchase_id=i)
    ),
    "PurchaseService/GetPurchase": lambda w, s: then(
        w.purchase_id(s), lambda i: purchases_pb.GetPurchaseRequest(purchase_id=i)
    ),
    "PurchaseService/ListPurchases": list_purchases,
    "TicketService/GetTicket": lambda w, s: then(w.ticket(s), lambda i: tickets_pb.GetTicketRequest(ticket_id=i)),
    "TicketService/GetTicket code": lambda w, s: then(w.code(s), lambda c: tickets_pb.GetTicketRequest(code=c)),
    "TicketService/ListTickets": list_tickets,
    "TicketService/RenderTicket": lambda w, s: then(w.ticket(s), lambda i: tickets_pb.RenderTicketRequest(ticket_id=i)),
    "TicketService/CancelTicket": lambda w, s: then(w.ticket(s), lambda i: tickets_pb.CancelTicketRequest(ticket_id=i)),
    "TicketService/GetCancellation": lambda w, s: then(
        w.cancellation(s), lambda i: tickets_pb.GetCancellationRequest(cancellation_id=i)
    ),
    "TicketService/ListCancellations": list_cancellations,
    "TicketService/RetryRefund": lambda w, s: then(
        w.cancellation(s), lambda i: tickets_pb.RetryRefundRequest(cancellation_id=i)
    ),
    "TicketService/ConfirmRefund": lambda w, s: then(
        w.cancellation(s), lambda i: tickets_pb.ConfirmRefundRequest(cancellation_id=i, refund_id="refund-1")
    ),
    "TicketService/ReissueTicket": lambda w, s: then(
        w.ticket(s), lambda i: tickets_pb.ReissueTicketRequest(ticket_id=i, request_id=new_id())
    ),
    "TicketService/TransferTicket": transfer,
    "TicketService/SetTicketBlocked": lambda w, s: then(
        w.ticket(s), lambda i: tickets_pb.SetTicketBlockedRequest(ticket_id=i, blocked=True)
    ),
    "TicketFeedService/WatchTickets": lambda w, s: then(
        w.event(OWN), lambda i: ticket_feed_service_pb2.WatchTicketsRequest()
    ),
    "TicketFeedService/GetSigningKeys": lambda w, s: now(ticket_feed_service_pb2.GetSigningKeysRequest()),
    "TicketFeedService/ReportCheckIns": lambda w, s: now(ticket_feed_service_pb2.ReportCheckInsRequest()),
    "TicketFeedService/ReportIncidents": lambda w, s: now(ticket_feed_service_pb2.ReportIncidentsRequest()),
    "ScanService/ScanTicket": scan,
    "ScanService/StreamScans": lambda w, s: then(w.gate(s), lambda g: scans_pb.StreamScansRequest(open=g)),
    "ScanService/ValidateTicket": lambda w, s: then(
        w.gate(s), lambda g: scans_pb.ValidateTicketRequest(gate=g, code="TKT-0123456789ABCDEF")
    ),
    "ScanService/ValidateTicket anywhere": validate_anywhere,
    "ScanService/AnnulScan": lambda w, s: then(w.scan(s), lambda i: scans_pb.AnnulScanRequest(scan_id=i)),
    "ScanService/ListScans": list_scans,
    "ScanService/GetAttendance": lambda w, s: then(
        w.gate(s), lambda g: scans_pb.GetAttendanceRequest(event_id=g.event_id)
    ),
    "ScanService/WatchAttendance": lambda w, s: then(
        w.gate(s), lambda g: scans_pb.WatchAttendanceRequest(event_id=g.event_id)
    ),
    "ScanService/ListIncidents": lambda w, s: then(
        w.gate(s), lambda g: scans_pb.ListIncidentsRequest(event_id=g.event_id)
    ),
    "ScanService/WatchAdmissions": lambda w, s: then(
        w.gate(s), lambda g: scans_pb.WatchAdmissionsRequest(event_id=g.event_id)
    ),
    "RevocationService/RevokeTickets": revoke_tickets,
    "RevocationService/RevokeEvent": lambda w, s: then(
        w.gate(s), lambda g: revocations_pb.RevokeEventRequest(event_id=g.event_id)
    ),
    "DeviceService/CreateDevice": lambda w, s: then(
        w.gate(s), lambda g: devices_pb.CreateDeviceRequest(name="Door", event_ids=[g.event_id])
    ),
    "DeviceService/EnrollDevice": lambda w, s: then(
        w.enrollment_code(s), lambda c: devices_pb.EnrollDeviceRequest(enrollment_code=c)
    ),
    "DeviceService/ListDevices": list_devices,
    "DeviceService/RevokeDevice": lambda w, s: then(w.device(s), lambda i: devices_pb.RevokeDeviceRequest(device_id=i)),
}


async def now(request: Message) -> Message:
    return request


async def then(made: Awaitable[Any], request: Callable[[Any], Message]) -> Message:
    return request(await made)
