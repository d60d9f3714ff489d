"""The stream of one gate: scans and their answers, in the same order.

The device need not wait for an answer before it sends the next scan. The scan lane passes at most 8 scans at once to
the batcher, so several scans of one device share a batch. Twice the credits of the stream bound the queue of answers.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeAlias

import grpc.aio
from prometheus_client import Gauge

from scan_service.convert.annulments import read_annulment
from scan_service.convert.attempts import AttemptParser, read_gate
from scan_service.convert.callers import own_organizer
from scan_service.domain.reasons import Reason
from scan_service.domain.recoveries import Resend
from scan_service.gate_stream.messages import (
    Credits,
    annulled_message,
    opened_message,
    reconnect_message,
    rejected_message,
    resend_message,
    result_message,
)
from scan_service.gate_stream.scan_lane import ScanLane
from scan_service.gate_stream.upload_lane import UploadLane
from scan_service.use_cases.annulments import Annulments
from scan_service.use_cases.gates import Gates
from scan_service.use_cases.scan_counters import SECONDS
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Gate, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.failures import Failure, invalid, overloaded, unauthenticated
from ticketing.chassis.parsing import Fields, read_uuid
from ticketing.chassis.waits import note_ids
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
STREAMS: Final = Gauge("ticketing_gate_streams", "Open streams of gates.")
RECONNECT_WITHIN: Final = timedelta(seconds=2)


class Pending(NamedTuple):
    """A scan or a passage whose answer is outstanding."""

    # The text that the device sent.
    scan_id: str
    answer: "asyncio.Future[Scan]"
    build_response: Callable[[Scan], pb.StreamScansResponse]
    # The time of perf_counter() at which the message arrived.
    arrival: float


Outgoing: TypeAlias = Pending | pb.StreamScansResponse


@dataclass(frozen=True, slots=True)
class StreamDependencies:
    """The objects that all streams share; `batcher` decides live scans, `uploads` records offline scans."""

    gates: Gates
    batcher: Batcher[Attempt, Scan]
    uploads: Batcher[Attempt, Scan]
    annulments: Annulments
    codes: Codes
    clock: Clock
    # The bounds on the unanswered scans of each stream.
    credits: Credits


class Streams:
    """The open streams of this process."""

    def __init__(self, dependencies: StreamDependencies) -> None:
        self._dependencies = dependencies
        self._open = set[Stream]()
        self._draining = False
        STREAMS.set_function(self._open.__len__)

    async def run(self, call: Call, caller: Caller) -> None:
        """Serve one stream until its device, its credential or this service ends it."""
        stream = Stream(self._dependencies, caller, call)
        self._open.add(stream)
        if self._draining:
            stream.drain()
        try:
            while (response := await stream.next()) is not None:
                await call.write(response)
                stream.note_written()
        finally:
            self._open.discard(stream)
            await stream.close()

    def devices(self) -> frozenset[str]:
        """Return the ids of the devices that have a stream open."""
        return frozenset(stream.device_id for stream in self._open if stream.device_id)

    def end_devices(self, device_ids: frozenset[str]) -> None:
        """End the streams of revoked devices."""
        for stream in self._open:
            if stream.device_id in device_ids:
                stream.end(unauthenticated("the device was revoked"))

    def ask_again(self, resend: Resend) -> None:
        """Ask the devices of all open gates to send their scans again."""
        for stream in self._open:
            stream.ask_again(resend)

    def drain(self) -> None:
        """Drain all streams: each answers its outstanding scans, asks its device to connect again, and ends."""
        self._draining = True
        for stream in self._open:
            stream.drain()


class Stream:
    """The stream of one gate; `call` reads a StreamScansRequest each, or MALFORMED where parsing failed."""

    def __init__(self, dependencies: StreamDependencies, caller: Caller, call: Call) -> None:
        self._dependencies = dependencies
        self._caller = caller
        # The value is empty where the caller is not a gate device.
        self.device_id = caller.subject if caller.is_any(Role.DEVICE) else ""
        self._ended: BaseException | None = None
        self._parser = AttemptParser(caller, dependencies.codes)
        self._scans = ScanLane(dependencies.batcher, self._wake)
        self._uploads = UploadLane(
            dependencies.uploads, self._parser, dependencies.credits.uploads, self._send, self.end
        )
        self._gate: Gate | None = None
        # The last request to send scans again that the device has got.
        self._asked: Resend | None = None
        # Here and in the lanes, a deque would take 0.7 KB while it is empty. The credits bound the list.
        self._outgoing = list[Outgoing]()
        self._outstanding = 0
        # The arrival of the scan whose verdict is being written; None: another message is.
        self._arrival: float | None = None
        self._draining = False
        self._reconnect_sent = False
        # The future on which the writer waits for work: an answer is there, or the stream ends.
        self._work: asyncio.Future[None] | None = None
        self._reading = asyncio.create_task(self._read(call), name="stream reader")
        self._reading.add_done_callback(lambda _: self._wake())

    async def next(self) -> pb.StreamScansResponse | None:
        """Return the next message to the device; None at the end."""
        while self._ended is not None or not self._outgoing or not _is_ready(self._outgoing[0]):
            if self._ended is not None:
                raise self._ended
            if self._outgoing:
                await self._wait()
                continue
            if self._draining and self._gate is None:
                # The database may hang while the gate opens.
                await self._stop_reading()
            if not self._uploads.is_idle:
                await self._wait()
                continue
            if self._draining and not self._reconnect_sent:
                self._reconnect_sent = True
                return reconnect_message(RECONNECT_WITHIN)
            if self._reconnect_sent and not self._reading.done():
                # gRPC resets a stream that ends before its device has closed its side. HAProxy before 3.0 then drops what
                # it has not sent yet: devices got no `reconnect` and CANCELLED in a quarter to half of the cases.
                await asyncio.wait([self._reading], timeout=RECONNECT_WITHIN.total_seconds())
                await self._stop_reading()
                continue
            if self._reading.done():
                # All messages are answered, so the stream ends with the result or the error of its reader.
                return None if self._reading.cancelled() else self._reading.result()
            await self._wait()
        # The credit returns before the answer is written: the device may send its next scan before the write returns.
        return self._message(self._outgoing.pop(0))

    def note_written(self) -> None:
        """Measure the time of a scan whose verdict was written."""
        if self._arrival is not None:
            SECONDS.observe(perf_counter() - self._arrival)
            self._arrival = None

    def end(self, failure: BaseException) -> None:
        """End the stream at once."""
        self._ended = failure
        self._wake()

    def ask_again(self, resend: Resend) -> None:
        """Ask the device to send its scans again; a gate that opens later is asked then."""
        if self._gate is not None and resend != self._asked:
            self._asked = resend
            self._send(resend_message(resend))

    def _wake(self) -> None:
        if self._work is not None and not self._work.done():
            self._work.set_result(None)

    async def _wait(self) -> None:
        self._work = asyncio.get_running_loop().create_future()
        await self._work

    def drain(self) -> None:
        """End the stream once the accepted scans are answered."""
        self._draining = True
        self._wake()

    async def _stop_reading(self) -> None:
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def close(self) -> None:
        """Cancel all work of the stream; a scan whose batch has begun is recorded all the same."""
        await self._stop_reading()
        await self._uploads.close()
        for outgoing in self._outgoing:
            if isinstance(outgoing, Pending):
                _abandon(outgoing.answer)
        if not self._reading.cancelled():
            # Without this call, asyncio logs an exception that was never retrieved.
            self._reading.exception()

    def _message(self, outgoing: Outgoing) -> pb.StreamScansResponse:
        if not isinstance(outgoing, Pending):
            return outgoing
        if outgoing.build_response is result_message:
            self._outstanding -= 1
            self._arrival = outgoing.arrival
        try:
            return outgoing.build_response(outgoing.answer.result())
        except Failure as failure:
            return rejected_message(outgoing.scan_id, failure)

    async def _read(self, call: Call) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            if self._draining:
                # The device repeats the message on its next stream.
                continue
            self._caller.check_expiry(self._dependencies.clock())
            if len(self._outgoing) > 2 * self._dependencies.credits.scans:
                raise overloaded("messages unanswered on one stream")
            kind = message.WhichOneof("message") if isinstance(message, pb.StreamScansRequest) else None
            if isinstance(message, pb.StreamScansRequest) and kind == "open":
                await self._open_gate(message.open)
            elif self._gate is None:
                raise Failure(Reason.GATE_NOT_OPEN, "the first message of a stream must be `open`")
            elif isinstance(message, pb.StreamScansRequest) and kind == "scan":
                self._submit(message.scan, self._gate)
            elif isinstance(message, pb.StreamScansRequest) and kind == "passage":
                self._annul(message.passage)
            elif isinstance(message, pb.StreamScansRequest) and kind == "upload":
                self._uploads.submit(message.upload, self._gate)
            elif isinstance(message, pb.StreamScansRequest) and kind == "resent":
                self._note_resent(message.resent)
            else:
                self._send(_rejection_of(message))

    async def _open_gate(self, message: scan_pb2.Gate) -> None:
        """Open a gate; a failure ends the stream, because later scans would have no gate."""
        fields = Fields(message, "open.")
        gate = read_gate(fields)
        fields.check()
        self._parser.check_event(gate)
        opening = await self._dependencies.gates.open(gate, own_organizer(self._caller), self.device_id)
        self._gate, self._asked = gate, opening.resend
        note_ids(event_id=gate.event_id)
        self._send(opened_message(opening, self._dependencies.credits))

    def _submit(self, message: pb.ScanAttempt, gate: Gate) -> None:
        arrival = perf_counter()
        if self._outstanding >= self._dependencies.credits.scans:
            raise overloaded("scans unanswered on one stream")
        fields = Fields(message, "scan.")
        attempt = self._parser.read_live(fields, gate)
        try:
            fields.check()
            answer = self._scans.submit(attempt)
        except Failure as failure:
            self._send(rejected_message(message.scan_id, failure))
            return
        self._outstanding += 1
        self._send(Pending(message.scan_id, answer, result_message, arrival))

    def _annul(self, message: pb.Passage) -> None:
        """Annul the scan of a person who did not pass; a message about a person who passed gets no answer."""
        if message.passed:
            return
        try:
            annulment = read_annulment(self._caller, message, "passage.")
        except Failure as failure:
            self._send(rejected_message(message.scan_id, failure))
            return
        answer = asyncio.create_task(self._dependencies.annulments.annul(annulment), name="annulment")
        answer.add_done_callback(lambda _: self._wake())
        self._send(Pending(message.scan_id, answer, annulled_message, perf_counter()))

    def _note_resent(self, message: pb.Resent) -> None:
        try:
            recovery_id = read_uuid(message, "recovery_id")
        except Failure as failure:
            self._send(rejected_message("", failure))
            return
        # A person's token may serve several gates, so only devices are waited for.
        if self.device_id:
            self._dependencies.gates.note_resent(self.device_id, recovery_id)

    def _send(self, outgoing: Outgoing) -> None:
        self._outgoing.append(outgoing)
        if not isinstance(outgoing, Pending):
            self._wake()


def _rejection_of(message: object) -> pb.StreamScansResponse:
    if not isinstance(message, pb.StreamScansRequest):
        return rejected_message(
            "", invalid("", "the message is not of this type: truncated, garbage, or invalid UTF-8")
        )
    return rejected_message("", invalid("message", "is required"))


def _is_ready(outgoing: Outgoing) -> bool:
    return not isinstance(outgoing, Pending) or outgoing.answer.done()


def _abandon(answer: "asyncio.Future[Scan]") -> None:
    """Cancel an answer, so that the batcher skips its scan unless the batch has begun."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()
