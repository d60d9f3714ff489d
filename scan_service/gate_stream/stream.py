"""A gate's stream: scans come in, and answers go out in the same order, while more scans are already on their way.

One task reads and hands each scan to the batcher at once, so that the scans of a device that does not wait for answers
share a batch; the answers to come stand in a queue, bounded by what a device may have unanswered.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from scan_service.convert.annulments import read_annulment
from scan_service.convert.scans import AttemptReader, read_gate
from scan_service.domain.reasons import Reason
from scan_service.gate_stream.messages import (
    Credits,
    annulled_message,
    opened_message,
    reconnect_message,
    rejected_message,
    result_message,
)
from scan_service.gate_stream.scan_lane import ScanLane
from scan_service.gate_stream.upload_lane import UploadLane
from scan_service.store.devices import note_gate
from scan_service.store.gates import read_opening
from scan_service.use_cases.annulments import Annulments
from ticketing.admission.codes import Codes
from ticketing.admission.scans import Attempt, Gate, Scan
from ticketing.chassis.authentication import LEEWAY, Caller, Role
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, invalid, overloaded, unauthenticated
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

RECONNECT_WITHIN: Final = timedelta(seconds=2)
# For so long after it was last noted a device counts as connected.
CONNECTED: Final = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Pending:
    """A scan, or a passage that annuls one, whose answer is to come."""

    # As given.
    scan_id: str
    answer: "asyncio.Future[Scan]"
    message: Callable[[Scan], pb.StreamScansResponse]


Outgoing: TypeAlias = Pending | pb.StreamScansResponse


@dataclass(frozen=True, slots=True)
class Rules:
    """What every stream works with.

    Args:
        database: says which events there are.
        batcher: decides and records.
        uploads: records what was decided offline.
        annulments: take back.
        codes: look up typed codes.
        clock: the present time.
        credits: what one stream may have unanswered.
    """

    database: Database
    batcher: Batcher[Attempt, Scan]
    uploads: Batcher[Attempt, Scan]
    annulments: Annulments
    codes: Codes
    clock: Clock
    credits: Credits


class Streams:
    """The streams that are open, so that they can be told to go elsewhere."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._open = set[Stream]()
        self._draining = False

    async def run(
        self, messages: AsyncIterator[object], caller: Caller
    ) -> AsyncGenerator[pb.StreamScansResponse, None]:
        """Serve one stream until its device, its credential or this service ends it."""
        stream = Stream(self._rules, caller, messages)
        self._open.add(stream)
        if self._draining:
            stream.drain()
        try:
            while (response := await stream.next()) is not None:
                yield response
        finally:
            self._open.discard(stream)
            await stream.close()

    def devices(self) -> frozenset[str]:
        """Return the devices that have a stream open."""
        return frozenset(stream.device_id for stream in self._open if stream.device_id)

    def end_devices(self, device_ids: frozenset[str]) -> None:
        """End the streams of devices that were revoked."""
        for stream in self._open:
            if stream.device_id in device_ids:
                stream.end(unauthenticated("the device was revoked"))

    def drain(self) -> None:
        """Tell every device to connect again; streams end once what they have taken is answered."""
        self._draining = True
        for stream in self._open:
            stream.drain()


class Stream:
    """One gate's stream.

    Args:
        rules: what every stream works with.
        caller: whose it is.
        messages: StreamScansRequest, or MALFORMED where one could not be read.
    """

    def __init__(self, rules: Rules, caller: Caller, messages: AsyncIterator[object]) -> None:
        self._rules = rules
        self._caller = caller
        # Empty where no gate device of ours calls.
        self.device_id = caller.subject if caller.is_any(Role.DEVICE) else ""
        self._ended: BaseException | None = None
        self._reader = AttemptReader(caller, rules.codes)
        self._scans = ScanLane(rules.batcher, self._tell)
        self._uploads = UploadLane(rules.uploads, self._reader, rules.credits.uploads, self._put, self.end)
        self._gate: Gate | None = None
        self._outgoing = deque[Outgoing]()
        self._outstanding = 0
        self._draining = False
        self._told_to_reconnect = False
        # Set when there is something to look at: an answer, or that there will be none any more.
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read(messages), name="stream reader")
        self._reading.add_done_callback(lambda _: self._tell())

    async def next(self) -> pb.StreamScansResponse | None:
        """Return the next message to the device; None at the end."""
        while self._ended is not None or not self._outgoing or not _is_ready(self._outgoing[0]):
            if self._ended is not None:
                raise self._ended
            if self._outgoing:
                await self._wait()
                continue
            if self._draining and not self._reading.done():
                self._reading.cancel()
                await asyncio.wait([self._reading])
                # What was answered meanwhile goes first.
                continue
            if not self._uploads.is_idle:
                await self._wait()
                continue
            if self._draining and not self._told_to_reconnect:
                self._told_to_reconnect = True
                return reconnect_message(RECONNECT_WITHIN)
            if self._reading.done():
                # How reading ended is how the stream ends, once everything before is answered.
                return None if self._reading.cancelled() else self._reading.result()
            await self._wait()
        # Before it is sent: the device may answer it with its next scan before we are told that it was.
        return self._message(self._outgoing.popleft())

    def end(self, failure: BaseException) -> None:
        """End the stream at once."""
        self._ended = failure
        self._tell()

    def _tell(self) -> None:
        """Wake who writes: once for an answer that is there, not for one that is only asked for."""
        self._news.set()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()

    def drain(self) -> None:
        """End the stream once what was taken is answered."""
        self._draining = True
        self._tell()

    async def close(self) -> None:
        """Leave nothing behind; a scan whose batch has begun is recorded all the same."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._uploads.close()
        for outgoing in self._outgoing:
            if isinstance(outgoing, Pending):
                _forget(outgoing.answer)
        if not self._reading.cancelled():
            # Looked at, so that nobody warns of an exception that nobody looked at.
            self._reading.exception()

    def _message(self, outgoing: Outgoing) -> pb.StreamScansResponse:
        if not isinstance(outgoing, Pending):
            return outgoing
        if outgoing.message is result_message:
            self._outstanding -= 1
        try:
            return outgoing.message(outgoing.answer.result())
        except Failure as failure:
            return rejected_message(outgoing.scan_id, failure)

    async def _read(self, messages: AsyncIterator[object]) -> None:
        async for message in messages:
            if self._draining:
                # The device repeats it elsewhere.
                return
            if (until := self._caller.expire_time) is not None and self._rules.clock() >= until + LEEWAY:
                raise unauthenticated("the token has expired")
            if len(self._outgoing) > 2 * self._rules.credits.scans:
                raise overloaded("messages unanswered on one stream")
            kind = message.WhichOneof("message") if isinstance(message, pb.StreamScansRequest) else None
            if isinstance(message, pb.StreamScansRequest) and kind == "open":
                await self._move(message.open)
            elif self._gate is None:
                raise Failure(Reason.GATE_NOT_OPEN, "the first message of a stream must be `open`")
            elif isinstance(message, pb.StreamScansRequest) and kind == "scan":
                self._take(message.scan, self._gate)
            elif isinstance(message, pb.StreamScansRequest) and kind == "passage":
                self._note(message.passage)
            elif isinstance(message, pb.StreamScansRequest) and kind == "upload":
                self._uploads.take(message.upload, self._gate)
            else:
                self._put(_refusal(message))

    async def _move(self, message: scan_pb2.Gate) -> None:
        """Open a gate. A fault ends the stream: the scans behind it cannot be judged at a gate that is not there."""
        fields = Fields()
        gate = read_gate(fields, message, "open.")
        fields.check()
        self._reader.check_bounds(gate)
        opening = await self._rules.database.run(lambda connection: read_opening(connection, gate.event_id))
        if opening is None or not self._reader.may_scan_for(opening.organizer_id):
            raise Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=gate.event_id)
        if self.device_id:
            now = self._rules.clock()
            await self._rules.database.run(
                lambda connection: note_gate(connection, self.device_id, gate, now, now + CONNECTED)
            )
        self._gate = gate
        self._put(opened_message(opening, self._rules.clock(), self._rules.credits))

    def _take(self, message: pb.ScanAttempt, gate: Gate) -> None:
        if self._outstanding >= self._rules.credits.scans:
            raise overloaded("scans unanswered on one stream")
        fields = Fields()
        attempt = self._reader.read(fields, message, gate, "scan.")
        try:
            fields.check()
            answer = self._scans.take(attempt)
        except Failure as failure:
            self._put(rejected_message(message.scan_id, failure))
            return
        self._outstanding += 1
        self._put(Pending(message.scan_id, answer, result_message))

    def _note(self, message: pb.Passage) -> None:
        """Annul the scan of somebody who did not pass; that somebody did is what was expected."""
        if message.passed:
            return
        try:
            annulment = read_annulment(self._caller, message.scan_id, "passage.")
        except Failure as failure:
            self._put(rejected_message(message.scan_id, failure))
            return
        answer = asyncio.create_task(self._rules.annulments.annul(annulment), name="annulment")
        answer.add_done_callback(lambda _: self._tell())
        self._put(Pending(message.scan_id, answer, annulled_message))

    def _put(self, outgoing: Outgoing) -> None:
        self._outgoing.append(outgoing)
        if not isinstance(outgoing, Pending):
            self._tell()


def _refusal(message: object) -> pb.StreamScansResponse:
    """Answer what is not taken here."""
    if not isinstance(message, pb.StreamScansRequest):
        return rejected_message(
            "", invalid("", "the message is not of this type: truncated, garbage, or invalid UTF-8")
        )
    return rejected_message("", invalid("message", "is required"))


def _is_ready(outgoing: Outgoing) -> bool:
    return not isinstance(outgoing, Pending) or outgoing.answer.done()


def _forget(answer: "asyncio.Future[Scan]") -> None:
    """Give up waiting; the batcher skips it where its batch has not begun."""
    if not answer.cancel() and not answer.cancelled():
        answer.exception()
