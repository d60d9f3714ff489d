"""The gates with an open stream, and devices that upload offline decisions."""

import queue
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import grpc

from tests.faults.callers import CHANNEL_OPTIONS, RETRY_SECONDS, Clock, code_of, details_of
from tests.faults.record import OK, Record
from tests.faults.world import SoldTicket, World
from ticketing.gate.messages import timestamp
from ticketing.scans.v1 import error_reason_pb2, scan_pb2, scan_service_pb2
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

ANSWER_SECONDS: Final = 4.0
# The share of admissions after which the person does not pass.
ANNULLED: Final = 0.1
# The limit of the contract, written from AnnulScan and not from the code of the service.
ANNUL_WINDOW: Final = timedelta(minutes=15)

# The first characters of an error name its kind.
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


def plain_connections(addresses: Sequence[str]) -> list[Callable[[], grpc.Channel]]:
    """Return what opens a channel without TLS to each address."""
    return [partial(grpc.insecure_channel, address, options=CHANNEL_OPTIONS) for address in addresses]


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
        admitted = self.scan(ticket, *(tokens[-1] if self.random.random() < 0.85 else self.random.choice(tokens)))
        if admitted and self.random.random() < ANNULLED:
            self.annul(ticket, admitted)
        self.clock.stopped.wait(self.random.uniform(0, 0.05))

    def scan(self, ticket: SoldTicket, issue: int, token: str) -> str:
        """Scan a token of an issue until the scan is answered; return the id of the scan if it admitted the person."""
        scan_id = str(uuid.uuid4())
        number = self._record.begin(
            "scan",
            ticket_id=ticket.ticket_id,
            event_id=ticket.event_id,
            scan_id=scan_id,
            issue=issue,
            gate=self._name,
        )
        attempt = scan_service_pb2.ScanAttempt(scan_id=scan_id, code=token)
        answer = self._ask(number, ticket.event_id, Request(scan=attempt), "result")
        if answer is None:
            return ""
        facts = facts_of(answer)
        if answer.scan_id != scan_id:
            facts["fault"] = f"the answer is that of {answer.scan_id}"
        self._record.end(number, OK, **facts)
        return scan_id if facts["admitted"] else ""

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

    def annul(self, ticket: SoldTicket, scan_id: str) -> None:
        """Report that an admitted person did not pass."""
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
            decisions = [self._decision(ticket.tokens[-1][1]) for _ in range(self._random.choice([1, 1, 2]))]
            for _ in range(self._random.choice([1, 1, 2])):
                self._random.shuffle(decisions)
                self._gate.upload(ticket, decisions)
        self._gate.clock.stopped.wait(self._random.uniform(0.5, 2.0))

    def _decision(self, token: str) -> scan_service_pb2.ScanAttempt:
        minutes = self._random.choice([1, 20, 40])
        return offline_admission(token, minutes, is_annulled=self._random.random() < 0.5)


def offline_admission(token: str, minutes: int, *, is_annulled: bool) -> scan_service_pb2.ScanAttempt:
    """Return an admission that a device showed some minutes ago, annulled just now or not at all."""
    now = datetime.now(UTC)
    shown = timestamp(now - timedelta(minutes=minutes))
    offline = scan_service_pb2.OfflineDecision(verdict=scan_pb2.VERDICT_ADMITTED, scan_time=shown)
    if is_annulled:
        offline.annul_time.CopyFrom(timestamp(now))
    return scan_service_pb2.ScanAttempt(scan_id=str(uuid.uuid4()), code=token, offline=offline)


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
