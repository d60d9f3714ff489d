"""The promises that hold after every restore and recovery, checked against the log outside of the system."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.drill.expected import Expected, Found, order_of, orders_in_full
from tests.drill.history import History
from tests.drill.log import Kind
from tests.drill.site import SCANS, TICKETS
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as scans_pb

# Two names of one difference: the check-in of a ticket that was open, or cancelled, at the restored moment.
SAME_KINDS = {"CHECK_IN_OF_CANCELLED_TICKET": "CHECK_IN_RESTORED"}
# The data that both databases have.
REPLICATED = {
    "event": "SELECT event_id::text, name FROM events",
    "ticket": "SELECT ticket_id::text, concat(status, ', issue ', issue) FROM tickets",
}
# An incident of one of these kinds says that a person got in who should not.
ADMISSION_INCIDENTS = frozenset(
    {
        scan_pb2.INCIDENT_KIND_DOUBLE_ADMISSION,
        scan_pb2.INCIDENT_KIND_REVOKED_ADMISSION,
        scan_pb2.INCIDENT_KIND_UNKNOWN_ADMISSION,
        scan_pb2.INCIDENT_KIND_INVALID_ADMISSION,
        # The key of a token was retired while its gate was offline.
        scan_pb2.INCIDENT_KIND_FORGED_TOKEN,
    }
)


class Checks:
    """The checks of one drill; each yields its violations. `end` is the number of lines that some database has."""

    def __init__(self, history: History, end: int) -> None:
        self._history = history
        self._end = end
        self._log, self._world = history.log, history.world
        # A change that neither database nor the provider has is unknowable.
        self._known = history.log.world(end)

    def all(self) -> Iterator[str]:
        """Yield every violation of the promises."""
        yield from self._admissions()
        yield from self._refunds()
        yield from self._places()
        yield from self._replica()
        status, output = self._history.callers.site.command_here(TICKETS, "audit")
        if status and not self._is_accepted(output):
            yield f"the audit is not clean: {output}"

    def printed(self, lines: list[Found], expected: Expected) -> Iterator[str]:
        """Yield the differences between what `recover` printed and what the log says."""
        printed = {(SAME_KINDS.get(kind, kind), subject) for kind, subject in lines}
        for kind, subject in sorted(expected.must - printed):
            yield f"not printed: {kind} {subject}"
        for kind, subject in sorted(printed - expected.may):
            yield f"printed without a cause: {kind} {subject}"

    def recorded(self) -> Iterator[str]:
        """Yield the admissions that a gate showed and that the scan service lacks."""
        recorded = {(scan.scan_id) for event_id in self._world.events for scan in self._scans(event_id)}
        off = self._world.gone
        for entry in self._log.of(Kind.SHOWN):
            facts = entry.facts
            if facts["admitted"] and facts["device_id"] not in off and facts["scan_id"] not in recorded:
                yield f"an admission is lost: {facts}"

    def _replica(self) -> Iterator[str]:
        """Yield the events and tickets of which the scan service has other data than the ticket service."""
        site = self._history.callers.site
        for name, query in REPLICATED.items():
            own, gates = dict(site.rows(TICKETS, query)), dict(site.rows(SCANS, query))
            for key, value in own.items():
                if (there := gates.get(key)) not in {None, value}:
                    yield f"the gates have {there} of {name} {key}, and the ticket service {value}"

    def _admissions(self) -> Iterator[str]:
        incidents = self._incidents()
        admitted: dict[str, set[str]] = defaultdict(set)
        for entry in self._log.known_admissions(self._end):
            admitted[entry.facts["ticket_id"]].add(entry.facts["scan_id"])
        refunded = orders_in_full(self._history.callers.site.stripe)
        for ticket_id, scan_ids in admitted.items():
            is_reported = bool(scan_ids & incidents)
            if len(scan_ids) > 1 and not is_reported:
                yield f"ticket {ticket_id} was admitted {len(scan_ids)} times without an incident"
            known = self._known.tickets.get(ticket_id)
            is_cancelled = known is not None and bool(known.cancellation_id)
            is_cancelled |= self._world.tickets[ticket_id].cancellation_id in refunded
            if is_cancelled and not is_reported:
                yield f"ticket {ticket_id} was cancelled and admitted without an incident"

    def _refunds(self) -> Iterator[str]:
        stripe = self._history.callers.site.stripe
        orders = Counter(order_of(refund) for refund in stripe.refunds if refund["status"] == "succeeded")
        for order_id, count in orders.items():
            if count > 1:
                yield f"order {order_id} was refunded {count} times"
        charged = stripe.charged()
        for purchase_id, refunded in stripe.refunded().items():
            cancelled = [
                one for one in self._world.tickets.values() if one.purchase_id == purchase_id and one.cancellation_id
            ]
            if refunded > min(charged[purchase_id], sum(one.price for one in cancelled)):
                yield f"purchase {purchase_id} was refunded {refunded} for {len(cancelled)} cancelled tickets"

    def _places(self) -> Iterator[str]:
        for event_id, event in self._known.events.items():
            sold = [one for one in self._known.tickets.values() if one.event_id == event_id and not one.cancellation_id]
            new = [
                one
                for key, one in self._world.tickets.items()
                if key not in self._known.tickets and one.event_id == event_id and not one.cancellation_id
            ]
            capacity = self._world.events[event_id].capacity
            if len(sold) + len(new) > capacity and event.status != "CANCELLED":
                yield f"event {event_id} has {capacity} places and {len(sold) + len(new)} tickets"

    def _incidents(self) -> set[str]:
        """Return the ids of the scans in incidents that say that a person got in who should not."""
        found, organizer = set[str](), self._history.callers.organizer
        for event_id, event in self._world.events.items():
            if event.status == "DRAFT":
                continue
            request = scans_pb.ListIncidentsRequest(event_id=event_id)
            for incident in organizer.ask(organizer.scans.ListIncidents, request).incidents:
                if incident.kind in ADMISSION_INCIDENTS:
                    found |= {scan.scan_id for scan in incident.scans}
        return found

    def _scans(self, event_id: str) -> list[scan_pb2.Scan]:
        if self._world.events[event_id].status == "DRAFT":
            return []
        request = scans_pb.ListScansRequest(event_id=event_id, page_size=1_000)
        organizer = self._history.callers.organizer
        return list(organizer.ask(organizer.scans.ListScans, request).scans)

    @staticmethod
    def _is_accepted(output: str) -> bool:
        """Return whether the audit finds payments alone that `recover` has listed."""
        broken = [line for line in output.splitlines() if line.strip().startswith("BROKEN")]
        return all("every payment of the provider matches a purchase here" in line for line in broken)
