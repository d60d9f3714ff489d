"""The requests of the matrix, about the caller's own, a foreign or a missing object."""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from tests.contract.matrix_world import MISSING, OWN, World
from tests.selling.shop import event, money, new_id
from ticketing.scans.v1 import (
    device_service_pb2,
    gate_change_service_pb2,
    recovery_service_pb2,
    replica_service_pb2,
    revocation_service_pb2,
    scan_service_pb2,
    scanner_service_pb2,
)
from ticketing.tickets.v1 import (
    change_service_pb2,
    erasure_service_pb2,
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


async def move_event(w: World, side: str) -> Message:
    changed = event_pb2.Event(event_id=await w.event(side), location="Big hall")
    return events_pb.UpdateEventRequest(event=changed, update_mask=FieldMask(paths=["location"]))


async def confirm_purchase(w: World, side: str) -> Message:
    held = await w.hold(side)
    return purchases_pb.ConfirmPurchaseRequest(purchase_id=held, external_payment_id=new_id(), paid=money(2_500))


async def own_order(w: World, side: str) -> Message:
    order = await w.order(side)
    order.ClearField("external_payment_id")
    return order


async def reissue(w: World, side: str) -> Message:
    return tickets_pb.ReissueTicketRequest(ticket_id=await w.ticket(side), request_id=new_id())


async def transfer(w: World, side: str) -> Message:
    return tickets_pb.TransferTicketRequest(ticket_id=await w.ticket(side), user_id="carol", request_id=new_id())


async def get_holder(w: World, side: str) -> Message:
    gate = await w.gate(side)
    return scans_pb.GetHolderRequest(event_id=gate.event_id, scan_id=await w.scan(side))


async def list_tickets(w: World, side: str) -> Message:
    await w.purchase_id(side)
    return tickets_pb.ListTicketsRequest(event_id=await w.event(side))


async def list_purchases(w: World, side: str) -> Message:
    await w.purchase_id(side)
    return purchases_pb.ListPurchasesRequest(event_id=await w.event(side))


async def list_disputes(w: World, side: str) -> Message:
    await w.dispute(side)
    return purchases_pb.ListDisputesRequest(event_id=await w.event(side))


async def correct_email(w: World, side: str) -> Message:
    purchase_id = await w.purchase_id(side)
    return purchases_pb.CorrectEmailRequest(request_id=new_id(), purchase_id=purchase_id, email="bob@example.com")


async def list_changes(w: World, side: str) -> Message:
    return change_service_pb2.ListChangesRequest(event_id=await w.event(side))


async def list_gate_changes(w: World, side: str) -> Message:
    if side == MISSING:
        return gate_change_service_pb2.ListChangesRequest(device_id=new_id())
    device_id = await w.device(side)
    return gate_change_service_pb2.ListChangesRequest(device_id=device_id)


async def list_cancellations(w: World, side: str) -> Message:
    await w.cancellation(side)
    return tickets_pb.ListCancellationsRequest(event_id=await w.event(side))


async def refund_ticket(w: World, side: str) -> Message:
    return tickets_pb.RefundTicketRequest(ticket_id=await w.ticket(side), request_id=new_id(), amount=money(1))


async def list_owed_refunds(w: World, side: str) -> Message:
    await w.cancellation(side)
    return tickets_pb.ListOwedRefundsRequest(event_id=await w.event(side))


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


def about(
    made: Callable[[World, str], Awaitable[Any]], request: Callable[..., Message], name: str, **fields: Any
) -> Ask:
    """Return a function that makes a request with the made object in the field `name`."""

    async def ask(w: World, side: str) -> Message:
        return request(**{name: await made(w, side)}, **fields)

    return ask


def at_gate(request: Callable[..., Message]) -> Ask:
    """Return a function that makes a request about the event of a gate."""

    async def ask(w: World, side: str) -> Message:
        return request(event_id=(await w.gate(side)).event_id)

    return ask


REQUESTS: dict[str, Ask] = {
    "EventService/CreateEvent": lambda w, s: now(
        events_pb.CreateEventRequest(request_id=new_id(), event=event(w.shop.now))
    ),
    "EventService/GetEvent": about(World.event, events_pb.GetEventRequest, "event_id"),
    "EventService/GetEvent draft": about(World.draft, events_pb.GetEventRequest, "event_id"),
    "EventService/ListEvents": lambda w, s: then(w.event(OWN), lambda i: events_pb.ListEventsRequest()),
    "EventService/ListEvents draft": list_drafts,
    "EventService/UpdateEvent": update_event,
    "EventService/UpdateEvent move": move_event,
    "EventService/PublishEvent": about(World.draft, events_pb.PublishEventRequest, "event_id"),
    "EventService/CancelEvent": about(World.event, events_pb.CancelEventRequest, "event_id", reason="Rain"),
    "EventService/PreviewEventCancellation": about(World.event, events_pb.PreviewEventCancellationRequest, "event_id"),
    "EventService/GetEventSales": about(World.event, events_pb.GetEventSalesRequest, "event_id"),
    "EventService/GetGateReplica": about(World.event, events_pb.GetGateReplicaRequest, "event_id"),
    "PurchaseService/PurchaseTickets": own_order,
    "PurchaseService/PurchaseTickets paid": lambda w, s: w.order(s),
    "PurchaseService/ConfirmPurchase": confirm_purchase,
    "PurchaseService/ReleasePurchase": about(World.hold, purchases_pb.ReleasePurchaseRequest, "purchase_id"),
    "PurchaseService/CorrectEmail": correct_email,
    "PurchaseService/GetPurchase": about(World.purchase_id, purchases_pb.GetPurchaseRequest, "purchase_id"),
    "PurchaseService/ListPurchases": list_purchases,
    "PurchaseService/ListDisputes": list_disputes,
    "TicketService/GetTicket": about(World.ticket, tickets_pb.GetTicketRequest, "ticket_id"),
    "TicketService/GetTicket code": about(World.code, tickets_pb.GetTicketRequest, "code"),
    "TicketService/ListTickets": list_tickets,
    "TicketService/RenderTicket": about(World.ticket, tickets_pb.RenderTicketRequest, "ticket_id"),
    "TicketService/CancelTicket": about(World.ticket, tickets_pb.CancelTicketRequest, "ticket_id"),
    "TicketService/GetCancellation": about(World.cancellation, tickets_pb.GetCancellationRequest, "cancellation_id"),
    "TicketService/ListCancellations": list_cancellations,
    "TicketService/RetryRefund": about(World.cancellation, tickets_pb.RetryRefundRequest, "cancellation_id"),
    "TicketService/ConfirmRefund": about(
        World.cancellation, tickets_pb.ConfirmRefundRequest, "cancellation_id", refund_id="refund-1"
    ),
    "TicketService/RefundTicket": refund_ticket,
    "TicketService/ListOwedRefunds": list_owed_refunds,
    "TicketService/ReissueTicket": reissue,
    "TicketService/TransferTicket": transfer,
    "TicketService/SetTicketBlocked": about(
        World.ticket, tickets_pb.SetTicketBlockedRequest, "ticket_id", blocked=True
    ),
    "ChangeService/ListChanges": list_changes,
    "ErasureService/Erase": lambda w, s: now(erasure_service_pb2.EraseRequest(email="nobody@example.com")),
    "TicketFeedService/WatchTickets": lambda w, s: then(
        w.event(OWN), lambda i: ticket_feed_service_pb2.WatchTicketsRequest()
    ),
    "TicketFeedService/GetSigningKeys": lambda w, s: now(ticket_feed_service_pb2.GetSigningKeysRequest()),
    "TicketFeedService/ReportCheckIns": lambda w, s: now(ticket_feed_service_pb2.ReportCheckInsRequest()),
    "TicketFeedService/ReportIncidents": lambda w, s: now(ticket_feed_service_pb2.ReportIncidentsRequest()),
    "TicketFeedService/ListCheckIns": lambda w, s: now(ticket_feed_service_pb2.ListCheckInsRequest()),
    "TicketFeedService/ReportDevices": lambda w, s: now(ticket_feed_service_pb2.ReportDevicesRequest()),
    "TicketFeedService/ListReportedDevices": lambda w, s: now(ticket_feed_service_pb2.ListReportedDevicesRequest()),
    "TicketFeedService/FindTickets": about(
        World.event, ticket_feed_service_pb2.FindTicketsRequest, "event_id", query="ann", caller="sam"
    ),
    "TicketFeedService/GetTicketHolder": lambda w, s: then(
        w.event(OWN),
        lambda i: ticket_feed_service_pb2.GetTicketHolderRequest(event_id=i, ticket_id=new_id()),
    ),
    "ScanService/ScanTicket": scan,
    "ScanService/StreamScans": about(World.gate, scans_pb.StreamScansRequest, "open"),
    "ScanService/ValidateTicket": about(
        World.gate, scans_pb.ValidateTicketRequest, "gate", code="TKT-0123456789ABCDEF"
    ),
    "ScanService/ValidateTicket anywhere": validate_anywhere,
    "ScanService/AnnulScan": about(World.scan, scans_pb.AnnulScanRequest, "scan_id"),
    "ScanService/ListScans": list_scans,
    "ScanService/GetAttendance": at_gate(scans_pb.GetAttendanceRequest),
    "ScanService/WatchAttendance": at_gate(scans_pb.WatchAttendanceRequest),
    "ScanService/ListIncidents": at_gate(scans_pb.ListIncidentsRequest),
    "ScanService/WatchAdmissions": at_gate(scans_pb.WatchAdmissionsRequest),
    "ScanService/LookUpTickets": lambda w, s: then(
        w.gate(s), lambda g: scans_pb.LookUpTicketsRequest(gate=g, query="ann")
    ),
    "ScanService/GetHolder": get_holder,
    "RevocationService/RevokeTickets": revoke_tickets,
    "RevocationService/RevokeEvent": at_gate(revocations_pb.RevokeEventRequest),
    "ScannerService/EraseScanner": lambda w, s: now(scanner_service_pb2.EraseScannerRequest(user_id="nobody")),
    "GateChangeService/ListChanges": list_gate_changes,
    "ReplicaService/GetReplicaPosition": at_gate(replica_service_pb2.GetReplicaPositionRequest),
    "RecoveryService/ListKnownEvents": lambda w, s: now(recovery_service_pb2.ListKnownEventsRequest()),
    "RecoveryService/ListKnownTickets": at_gate(recovery_service_pb2.ListKnownTicketsRequest),
    "RecoveryService/ListKnownKeys": lambda w, s: now(recovery_service_pb2.ListKnownKeysRequest()),
    "DeviceService/CreateDevice": lambda w, s: then(
        w.gate(s), lambda g: devices_pb.CreateDeviceRequest(name="Door", event_ids=[g.event_id])
    ),
    "DeviceService/EnrollDevice": about(World.enrollment_code, devices_pb.EnrollDeviceRequest, "enrollment_code"),
    "DeviceService/ListDevices": list_devices,
    "DeviceService/RevokeDevice": about(World.device, devices_pb.RevokeDeviceRequest, "device_id"),
}


async def now(request: Message) -> Message:
    return request


async def then(made: Awaitable[Any], request: Callable[[Any], Message]) -> Message:
    return request(await made)
