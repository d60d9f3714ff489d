"""The clients at the doors: gates with an open stream, and handhelds that decide offline while the network is away."""

import queue
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc

from tests.environment.waiting import eventually
from tests.faults.callers import RETRY_SECONDS, Clock, code_of, details_of
from tests.faults.record import OK, Record
from tests.faults.site import START_SECONDS
from tests.faults.world import SoldTicket, World
from tests.gate.venue import Handheld
from ticketing.admission.scans import Gate
from ticketing.gate.credential import Credential
from ticketing.gate.enrollment import enroll_device
from ticketing.gate.messages import timestamp
from ticketing.gate.store import Store
from ticketing.scans.v1 import error_reason_pb2, scan_pb2, scan_service_pb2
from ticketing.scans.v1.device_service_pb2_grpc import DeviceServiceStub
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

ANSWER_SECONDS: Final = 4.0
# The share of admissions after which the person does not pass.
ANNULLED: Final = 0.1
# The limit of the contract, written from AnnulScan and not from the code of the service.
ANNUL_WINDOW: Final = timedelta(minutes=15)
# A lane shows the same text again only after the time in which a device repeats its answer.
SAME_TEXT_SECONDS: Final = 3.0

# The characters of an error that tell its kind.
MAX_ERROR: Final = 60
# A gate that has no answer after ANSWER_SECONDS ends its stream itself.
OWN_END: Final = "stream: ended by CANCELLED Locally cancelled by application!"

ASK_AGAIN: Final = frozenset(
    {error_reason_pb2.ERROR_REASON_OVERLOADED, error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE}
)

Request = scan_service_pb2.StreamScansRequest
Response = scan_service_pb2.StreamScansResponse


class NoAnswerError(Exception):
    """The stream has ended, or the service did not answer in time."""


class RejectedError(Exception):
    """The service does not accept a message, whose repetition would not help."""


class Stream:
    """An open stream of one gate, which waits for each answer; it closes its channel at the end."""

    def __init__(self, channel: grpc.Channel, metadata: Sequence[tuple[str, str]], gate: scan_pb2.Gate) -> None:
        self._channel = channel
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        stub = ScanServiceStub(self._channel)
        self._call: Any = stub.StreamScans(self._sent(), metadata=tuple(metadata))
        try:
            self.ask(Request(open=gate), "opened")
        except NoAnswerError:
            self.close()
            raise

    def ask(self, request: Request, wanted: str) -> Any:
        """Send a message; return the message of the wanted kind that answers it.

        Raises:
            NoAnswerError, RejectedError: as their classes say.
        """
        timer = threading.Timer(ANSWER_SECONDS, self._call.cancel)
        timer.daemon = True
        timer.start()
        self._requests.put(request)
        try:
            for answer in self._call:
                kind = answer.WhichOneof("message")
                if kind == wanted:
                    return getattr(answer, kind)
                if kind == "rejected" and answer.rejected.reason not in ASK_AGAIN:
                    raise RejectedError(error_reason_pb2.ErrorReason.Name(answer.rejected.reason))
                if kind != "resend":
                    # Such as OVERLOADED, or the request to connect again.
                    raise NoAnswerError(kind)
        except grpc.RpcError as error:
            raise NoAnswerError(f"ended by {code_of(error).name} {details_of(error)}") from error
        finally:
            timer.cancel()
        raise NoAnswerError("the stream has ended")

    def close(self) -> None:
        """End the stream."""
        self._requests.put(None)
        self._call.cancel()
        self._channel.close()

    def _sent(self) -> Iterator[Request]:
        yield from iter(self._requests.get, None)


class StreamGate:
    """A gate with a stream, which repeats each scan under its id until it is answered.

    Each of `connections` opens a channel to a process or to a proxy.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its surroundings
        self,
        name: str,
        connections: Sequence[Callable[[], grpc.Channel]],
        metadata: Sequence[tuple[str, str]],
        record: Record,
        clock: Clock,
        choice: random.Random,
        world: World,
        errors: Counter[str],
    ) -> None:
        self._name, self._connections, self._metadata = name, connections, metadata
        self._record, self.clock, self.random, self._world = record, clock, choice, world
        self._errors = errors
        self._streams: dict[str, Stream] = {}

    def close(self) -> None:
        """End the streams."""
        for stream in self._streams.values():
            stream.close()

    def work(self) -> None:
        """Scan one ticket, and at times report that the person did not pass."""
        ticket = self._world.pick(self.random)
        if ticket is None:
            self.clock.stopped.wait(0.1)
            return
        tokens = list(ticket.tokens)
        self.scan(ticket, *(tokens[-1] if self.random.random() < 0.85 else self.random.choice(tokens)))
        self.clock.stopped.wait(self.random.uniform(0, 0.05))

    def scan(self, ticket: SoldTicket, issue: int, token: str) -> None:
        """Scan a token of an issue until the scan is answered."""
        scan_id = str(uuid.uuid4())
        number = self._record.begin("scan", ticket_id=ticket.ticket_id, scan_id=scan_id, issue=issue, gate=self._name)
        attempt = scan_service_pb2.ScanAttempt(scan_id=scan_id, code=token)
        answer = self._ask(number, ticket.event_id, Request(scan=attempt), "result")
        if answer is None:
            return
        facts = facts_of(answer)
        if answer.scan_id != scan_id:
            facts["fault"] = f"the answer is that of {answer.scan_id}"
        self._record.end(number, OK, **facts)
        if facts["admitted"] and self.random.random() < ANNULLED:
            self._annul(ticket, scan_id)

    def upload(self, ticket: SoldTicket, decisions: Sequence[scan_service_pb2.ScanAttempt]) -> None:
        """Upload offline decisions on a ticket until they are answered."""
        numbers = [
            self._record.begin("upload", ticket_id=ticket.ticket_id, scan_id=one.scan_id, is_late=_is_late(one))
            for one in decisions
        ]
        request = Request(upload=scan_service_pb2.Upload(scans=decisions))
        answer = self._ask(numbers[0], ticket.event_id, request, "uploaded")
        if answer is None:
            return
        recorded = {scan.scan_id for scan in answer.results}
        for number, one in zip(numbers, decisions, strict=True):
            if one.scan_id in recorded:
                self._record.end(number)

    def _annul(self, ticket: SoldTicket, scan_id: str) -> None:
        number = self._record.begin("annul", ticket_id=ticket.ticket_id, scan_id=scan_id)
        passage = scan_service_pb2.Passage(scan_id=scan_id, passed=False)
        answer = self._ask(number, ticket.event_id, Request(passage=passage), "annulled")
        if answer is not None:
            self._record.end(number, OK, annulled=answer.HasField("annul_time"))

    def _ask(self, number: int, event_id: str, request: Request, wanted: str) -> Any:
        while time.monotonic() < self.clock.patience_until:
            try:
                return self._stream(event_id).ask(request, wanted)
            except RejectedError as rejected:
                self._record.end(number, str(rejected).removeprefix("ERROR_REASON_"))
                return None
            except NoAnswerError as error:
                self._errors[f"stream: {str(error)[:MAX_ERROR]}"] += 1
                stream = self._streams.pop(event_id, None)
                if stream is not None:
                    stream.close()
                time.sleep(self.random.uniform(0, RETRY_SECONDS))
                if self.random.random() < 0.02:
                    # The device is switched off: nobody asks for this answer again.
                    return None
        return None

    def _stream(self, event_id: str) -> Stream:
        if event_id not in self._streams:
            gate = scan_pb2.Gate(event_id=event_id, location=self._name)
            self._streams[event_id] = Stream(self.random.choice(self._connections)(), self._metadata, gate)
        return self._streams[event_id]


class Uploader:
    """A device that sends offline decisions late, repeatedly, and with annulments within and beyond the bounds."""

    def __init__(self, gate: StreamGate, world: World) -> None:
        self._gate, self._world = gate, world
        self._random = gate.random

    def work(self) -> None:
        """Upload decisions on one ticket, in any order, some of them twice."""
        ticket = self._world.pick(self._random)
        if ticket is not None:
            decisions = [self._decision(ticket) for _ in range(self._random.choice([1, 1, 2]))]
            for _ in range(self._random.choice([1, 1, 2])):
                self._random.shuffle(decisions)
                self._gate.upload(ticket, decisions)
        self._gate.clock.stopped.wait(self._random.uniform(0.5, 2.0))

    def _decision(self, ticket: SoldTicket) -> scan_service_pb2.ScanAttempt:
        now = datetime.now(UTC)
        shown = now - timedelta(minutes=self._random.choice([1, 20, 40]))
        offline = scan_service_pb2.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED, scan_time=timestamp(shown))
        if self._random.random() < 0.5:
            offline.annul_time.CopyFrom(timestamp(now))
        return scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=ticket.tokens[-1][1], offline=offline)


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
        issue, token = ticket.tokens[-1] if ticket else (0, "")
        now = time.monotonic()
        if ticket is None or now - self._scanned.get(token, -SAME_TEXT_SECONDS) < SAME_TEXT_SECONDS:
            self._clock.stopped.wait(0.1)
            return
        self._scanned[token] = now
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
        if answer.admitted and self._random.random() < ANNULLED:
            number = self._record.begin("lane annul", ticket_id=ticket.ticket_id, scan_id=answer.scan_id)
            undone = self.handheld.device.annul_last()
            self._record.end(number, OK, annulled=undone.annulled, note=undone.note)
        self._clock.stopped.wait(self._random.uniform(0, 0.3))

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


def _is_late(attempt: scan_service_pb2.ScanAttempt) -> bool:
    """Return whether a device annulled its decision later than AnnulScan permits."""
    offline = attempt.offline
    between = offline.annul_time.ToDatetime() - offline.scan_time.ToDatetime()
    return offline.HasField("annul_time") and between > ANNUL_WINDOW


def facts_of(scan: scan_pb2.Scan) -> dict[str, Any]:
    """Return what a gate shows of a scan."""
    return {
        "admitted": scan.verdict == scan_pb2.VERDICT_ADMITTED,
        "reason": scan_pb2.DenialReason.Name(scan.denial_reason).removeprefix("DENIAL_REASON_"),
        "ticket_id": scan.ticket_id,
    }
