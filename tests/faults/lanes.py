"""The handhelds at the doors, which decide offline while the network is away."""

import random
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc

from tests.environment.waiting import eventually
from tests.faults.callers import Clock
from tests.faults.gates import ANNULLED
from tests.faults.record import OK, Record
from tests.faults.site import START_SECONDS
from tests.faults.world import SoldTicket, World
from tests.gate.venue import Handheld
from ticketing.admission.scans import Gate
from ticketing.gate.credential import Credential
from ticketing.gate.enrollment import enroll_device
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_service_pb2
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub

# A lane shows the same text again only after the time in which a device repeats its answer.
SAME_TEXT_SECONDS: Final = 3.0


class DeviceTime:
    """The wall clock of a handheld, which the nemesis sets."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Lane:
    """An enrolled handheld at one event, with the reference program of gate devices."""

    def __init__(  # noqa: PLR0913, PLR0917 - its surroundings
        self,
        name: str,
        address: str,
        enrollment_code: str,
        event_id: str,
        folder: Path,
        record: Record,
        clock: Clock,
        choice: random.Random,
        world: World,
    ) -> None:
        self.name, self.event_id = name, event_id
        self.wall_clock = DeviceTime()
        self._record, self._clock, self._random, self._world = record, clock, choice, world
        self._stack = ExitStack()
        path = folder / f"{name}.sqlite"
        store = Store(path)
        with grpc.insecure_channel(address) as channel:
            enroll_device(store, DeviceServiceStub(channel), enrollment_code)
        token = store.setting("token") or ""
        store.close()
        gate = Gate(uuid.UUID(event_id), name)
        self.handheld = Handheld(
            self._stack, address, (), gate, path, credential=Credential(token), clock=self.wall_clock
        )
        self.handheld.connect().follow()
        eventually(lambda: self.handheld.store.replica_state(gate.event_id).is_complete, seconds=START_SECONDS)
        # By text, the time of its last scan here.
        self._scanned: dict[str, float] = {}

    def work(self) -> None:
        """Scan one ticket, and at times report that the person did not pass."""
        ticket = self._world.pick(self._random, self.event_id)
        if ticket is None or self.repeats(ticket):
            self._clock.stopped.wait(0.1)
            return
        answer = self.scan(ticket)
        if answer.admitted and self._random.random() < ANNULLED:
            number = self._record.begin("lane annul", ticket_id=ticket.ticket_id, scan_id=answer.scan_id)
            undone = self.handheld.device.annul_last()
            self._record.end(number, OK, annulled=undone.annulled, note=undone.note)
        self._clock.stopped.wait(self._random.uniform(0, 0.3))

    def repeats(self, ticket: SoldTicket) -> bool:
        """Return whether the device would show its last answer about a ticket again."""
        scanned = self._scanned.get(ticket.tokens[-1][1], -SAME_TEXT_SECONDS)
        return time.monotonic() - scanned < SAME_TEXT_SECONDS

    def scan(self, ticket: SoldTicket) -> Any:
        """Scan a ticket; return the answer of the device."""
        issue, token = ticket.tokens[-1]
        self._scanned[token] = time.monotonic()
        number = self._record.begin("lane scan", ticket_id=ticket.ticket_id, issue=issue, gate=self.name)
        answer = self.handheld.scan(token)
        self._record.end(
            number,
            OK,
            scan_id=answer.scan_id,
            admitted=answer.admitted,
            offline=answer.offline,
            reason="" if answer.reason is None else str(answer.reason),
            note=answer.note,
            repeated=answer.repeated,
        )
        return answer

    def differences(self, rows: Sequence[tuple[str, int, bool, str]]) -> list[str]:
        """Return how the device's replica differs from rows of the scan service: id, issue, presence and status."""
        query = (
            "SELECT admission FROM replica_tickets WHERE replica_id = "
            "(SELECT max(replica_id) FROM replicas WHERE event_id = ? AND complete)"
        )
        found = {}
        for (message,) in self.handheld.store._rows(query, uuid.UUID(self.event_id).bytes):  # noqa: SLF001 - no method reads all
            ticket = scan_service_pb2.TicketAdmission.FromString(message)
            found[str(uuid.UUID(bytes=ticket.ticket_id))] = (ticket.issue, ticket.inside, not ticket.denial_reason)
        wanted = {ticket_id: (issue, inside, status == "ACTIVE") for ticket_id, issue, inside, status in rows}
        differing = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
        return [
            f"device {self.name}: ticket {key} is {found.get(key)} instead of {wanted.get(key)}"
            for key in differing[:3]
        ]

    def is_delivered(self) -> bool:
        """Return whether the device is online and has sent all of its decisions."""
        return self.handheld.state == "ONLINE" and self.handheld.store.queue_length() == 0

    def close(self) -> None:
        """Switch the device off."""
        with suppress(Exception):
            self._stack.close()
