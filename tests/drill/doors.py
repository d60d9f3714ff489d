"""What happens at the gates in a history: scans on- and offline, and enrolled and revoked devices."""

from pathlib import Path

from tests.drill.callers import Callers
from tests.drill.log import Kind, TicketState
from tests.drill.site import Lane
from ticketing.scans.v1 import device_service_pb2 as devices_pb


class Doors:
    """The gates of all events, and the operations at them; each returns False where it has no subject."""

    def __init__(self, callers: Callers, folder: Path) -> None:
        self._callers, self._folder = callers, folder
        self.lanes: list[Lane] = []

    def scan(self) -> bool | None:
        """Scan a ticket at a gate of its event, at times an older print."""
        lane = self._callers.choose(self.working())
        if lane is None or (ticket := self._callers.choose(self._callers.tickets(lane.event_id))) is None:
            return False
        token = ticket.tokens[-1] if self._callers.random.random() < 0.8 else self._callers.random.choice(ticket.tokens)
        self.show(lane, ticket, token)
        return None

    def show(self, lane: Lane, ticket: TicketState, text: str) -> bool:
        """Show a text at a gate; return whether the gate admitted its ticket."""
        answer = lane.handheld.scan(text)
        facts = {"ticket_id": ticket.ticket_id, "scan_id": answer.scan_id, "scan_time": answer.time}
        self._callers.log.add(
            Kind.SHOWN,
            **facts,
            device_id=lane.device_id,
            admitted=answer.admitted,
            offline=answer.offline,
            token=text,
            reason=str(answer.reason),
        )
        if answer.admitted and not answer.offline:
            self._callers.log.add(Kind.RECORDED, **facts)
        return answer.admitted

    def cut(self) -> bool | None:
        """Cut the network of a gate."""
        if (lane := self._callers.choose([lane for lane in self.working() if lane.is_online])) is None:
            return False
        lane.cut()
        return None

    def plug_in(self) -> bool | None:
        """Connect a gate again, which then sends its offline decisions."""
        if (lane := self._callers.choose([lane for lane in self.working() if not lane.is_online])) is None:
            return False
        lane.plug_in()
        lane.await_delivery()
        self.delivered(lane)
        return None

    def delivered(self, lane: Lane) -> None:
        """Record that the service has the offline admissions of a gate."""
        recorded = {entry.facts["scan_id"] for entry in self._callers.log.of(Kind.RECORDED)}
        for entry in self._callers.log.of(Kind.SHOWN):
            facts = entry.facts
            is_new = facts["admitted"] and facts["scan_id"] not in recorded
            if is_new and facts["device_id"] == lane.device_id:
                self._callers.log.add(
                    Kind.RECORDED, **{name: facts[name] for name in ("ticket_id", "scan_id", "scan_time")}
                )

    def enroll(self, event_id: str = "") -> bool | None:
        """Enroll a gate device at an event."""
        given = event_id or self._callers.choose(self._callers.events("PUBLISHED"))
        if given is None or len(self.working()) > 6:
            return False
        if not event_id:
            # The gate of a new event opens once the scan service has the event.
            self._callers.settle()
        lane = Lane(self._callers.site, self._callers.organizer, given, f"gate-{len(self.lanes)}", self._folder)
        self.lanes.append(lane)
        self._callers.log.add(Kind.DEVICE_ENROLLED, device_id=lane.device_id, name=lane.name)
        return None

    def revoke(self) -> bool | None:
        """Revoke a device: a thief has it."""
        if len(self._callers.world.revoked) > 1 or (lane := self._callers.choose(self.working())) is None:
            return False
        self.revoke_device(lane)
        return None

    def revoke_device(self, lane: Lane) -> None:
        """Revoke the device of a lane."""
        request = devices_pb.RevokeDeviceRequest(device_id=lane.device_id)
        self._callers.organizer.ask(self._callers.devices.RevokeDevice, request)
        self._callers.log.add(Kind.DEVICE_REVOKED, device_id=lane.device_id)

    def working(self) -> list[Lane]:
        """Return the lanes whose device is neither revoked nor lost."""
        gone = self._callers.world.gone
        return [lane for lane in self.lanes if lane.device_id not in gone]
