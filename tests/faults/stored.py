"""The state that the services return once the dust has settled, read through their API."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.faults.callers import Caller
from tests.faults.world import World
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.tickets.v1 import event_pb2, event_service_pb2, purchase_pb2, purchase_service_pb2, ticket_pb2
from ticketing.tickets.v1 import ticket_service_pb2 as tickets_pb


@dataclass
class Stored:
    """Everything by its id, and the scans, incidents and counts of each event."""

    events: dict[str, event_pb2.Event] = field(default_factory=dict)
    purchases: dict[str, purchase_pb2.Purchase] = field(default_factory=dict)
    tickets: dict[str, ticket_pb2.Ticket] = field(default_factory=dict)
    cancellations: dict[str, ticket_pb2.Cancellation] = field(default_factory=dict)
    scans: dict[str, scan_pb2.Scan] = field(default_factory=dict)
    incidents: list[scan_pb2.Incident] = field(default_factory=list)
    attendance: dict[str, scan_service_pb2.Attendance] = field(default_factory=dict)

    @classmethod
    def read(cls, shop: Caller, organizer: Caller, world: World) -> "Stored":
        """Read the events of a run with everything that belongs to them."""
        stored = cls()
        for sold in world.events:
            event_id = sold.event_id
            got = event_service_pb2.GetEventRequest(event_id=event_id)
            stored.events[event_id] = organizer.call("GetEvent", got).event
            purchases = purchase_service_pb2.ListPurchasesRequest(event_id=event_id, page_size=100)
            stored.purchases |= {one.purchase_id: one for one in _pages(shop, "ListPurchases", purchases, "purchases")}
            tickets = tickets_pb.ListTicketsRequest(event_id=event_id, page_size=100)
            stored.tickets |= {one.ticket_id: one for one in _pages(shop, "ListTickets", tickets, "tickets")}
            cancellations = tickets_pb.ListCancellationsRequest(event_id=event_id, page_size=100)
            stored.cancellations |= {
                one.cancellation_id: one for one in _pages(shop, "ListCancellations", cancellations, "cancellations")
            }
            scans = scan_service_pb2.ListScansRequest(event_id=event_id, page_size=1_000)
            stored.scans |= {one.scan_id: one for one in _pages(organizer, "ListScans", scans, "scans")}
            incidents = scan_service_pb2.ListIncidentsRequest(event_id=event_id, page_size=100)
            stored.incidents += _pages(organizer, "ListIncidents", incidents, "incidents")
            counts = scan_service_pb2.GetAttendanceRequest(event_id=event_id)
            stored.attendance[event_id] = organizer.call("GetAttendance", counts).attendance
        return stored

    def standing(self, event_id: str) -> dict[str, list[scan_pb2.Scan]]:
        """Return the admissions of an event that are not annulled, by ticket."""
        found: dict[str, list[scan_pb2.Scan]] = {}
        for scan in self.scans.values():
            is_standing = scan.verdict == scan_pb2.VERDICT_ADMITTED and not scan.HasField("annul_time")
            if scan.gate_event_id == event_id and is_standing:
                found.setdefault(scan.ticket_id, []).append(scan)
        return found

    def tickets_of(self, purchase_id: str) -> list[ticket_pb2.Ticket]:
        """Return the tickets of a purchase."""
        return [one for one in self.tickets.values() if one.purchase_id == purchase_id]

    def given_back(self, ticket: ticket_pb2.Ticket) -> int:
        """Return the amount of a ticket that its holder gets back."""
        cancellation = self.cancellations.get(ticket.cancellation_id)
        is_rejected = cancellation is None or cancellation.status == ticket_pb2.CANCELLATION_STATUS_REJECTED
        by_cancellation = 0 if cancellation is None or is_rejected else cancellation.refund_amount.minor_units
        return by_cancellation + ticket.refunded.minor_units


def _pages(caller: Caller, rpc: str, request: Any, name: str) -> Iterator[Any]:
    while True:
        page = caller.call(rpc, request)
        yield from getattr(page, name)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
