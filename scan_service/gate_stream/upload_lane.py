"""The uploads of one stream, answered in their order beside its live scans, which never wait for them."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scan_service.convert.scans import AttemptReader, scan_message
from scan_service.gate_stream.messages import rejected_message, rejection
from ticketing.admission.scans import Attempt, Gate, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.failures import Failure, invalid, overloaded
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_service_pb2 as pb

# The contract's bound on one message.
MAX_SCANS: Final = 500
# Read, or written, before the loop is given back to those who wait at a gate.
SLICE: Final = 32

Put = Callable[[pb.StreamScansResponse], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A scan of an upload: its answer to come, or why it cannot be taken."""

    # As given.
    scan_id: str
    answer: "asyncio.Future[Scan] | Failure"


class UploadLane:
    """Takes uploads.

    Args:
        batcher: records them.
        reader: reads their scans.
        max_unanswered: scans that may be unanswered.
        put: sends an answer.
        end: ends the stream, where answering failed unforeseen: the device uploads again on the next.
    """

    def __init__(
        self,
        batcher: Batcher[Attempt, Scan],
        reader: AttemptReader,
        max_unanswered: int,
        put: Put,
        end: Callable[[BaseException], None],
    ) -> None:
        self._batcher = batcher
        self._reader = reader
        self._max_unanswered = max_unanswered
        self._put = put
        self._end = end
        # Uploads, and the gate at which the stream was when they came.
        self._waiting = deque[tuple[pb.Upload, Gate]]()
        # Of the first of them, as far as it has been read.
        self._entries = list[Entry]()
        self._outstanding = 0
        self._answering: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Everything that was taken is answered."""
        return not self._waiting

    def take(self, message: pb.Upload, gate: Gate) -> None:
        """Take an upload.

        Raises:
            Failure: OVERLOADED where too much is unanswered.
        """
        if len(message.scans) > MAX_SCANS:
            self._put(rejected_message("", invalid("upload.scans", f"holds more than {MAX_SCANS}")))
            return
        if self._outstanding + len(message.scans) > self._max_unanswered:
            raise overloaded("offline scans unanswered on one stream")
        self._outstanding += len(message.scans)
        self._waiting.append((message, gate))
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer(), name="upload lane")
            self._answering.add_done_callback(self._look)

    async def close(self) -> None:
        """Leave nothing behind; what has begun to be recorded is recorded all the same."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait([self._answering])
        for entry in self._entries:
            if isinstance(entry.answer, asyncio.Future) and not entry.answer.cancel():
                # Looked at, so that nobody warns of an exception that nobody looked at.
                _ = entry.answer.cancelled() or entry.answer.exception()

    def _look(self, answering: "asyncio.Task[None]") -> None:
        if not answering.cancelled() and (error := answering.exception()) is not None:
            self._end(error)

    async def _answer(self) -> None:
        while self._waiting:
            message, gate = self._waiting[0]
            await self._read(message, gate)
            uploaded = await self._uploaded()
            self._entries.clear()
            self._waiting.popleft()
            self._outstanding -= len(message.scans)
            self._put(pb.StreamScansResponse(uploaded=uploaded))
        self._answering = None

    async def _read(self, message: pb.Upload, gate: Gate) -> None:
        for index, scan in enumerate(message.scans):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            self._entries.append(Entry(scan.scan_id, self._enqueue(scan, gate, f"upload.scans[{index}].")))

    async def _uploaded(self) -> pb.Uploaded:
        uploaded = pb.Uploaded()
        for index, entry in enumerate(self._entries):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            outcome = await _outcome(entry)
            if isinstance(outcome, Failure):
                uploaded.rejected.append(rejection(entry.scan_id, outcome))
            else:
                uploaded.results.append(scan_message(outcome))
        return uploaded

    def _enqueue(self, message: pb.ScanAttempt, gate: Gate, path: str) -> "asyncio.Future[Scan] | Failure":
        fields = Fields()
        attempt = self._reader.read_offline(fields, message, gate, path)
        try:
            fields.check()
            self._reader.check_bounds(attempt.gate)
            return self._batcher.enqueue(attempt)
        except Failure as failure:
            return failure


async def _outcome(entry: Entry) -> Scan | Failure:
    if isinstance(entry.answer, Failure):
        return entry.answer
    try:
        return await entry.answer
    except Failure as failure:
        return failure
