"""The lane of one stream's uploads, which are answered in their order, while live scans never wait for them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from scan_service.convert.attempts import AttemptParser
from scan_service.convert.scans import scan_message
from scan_service.gate_stream.messages import rejected_message, rejection
from ticketing.admission.scans import Attempt, Gate, Scan
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.bounds import bounds_of
from ticketing.chassis.failures import Failure, invalid, overloaded
from ticketing.chassis.interceptor import log_refused_messages
from ticketing.chassis.parsing import Fields
from ticketing.scans.v1 import scan_service_pb2 as pb

MAX_SCANS: Final = bounds_of(pb.Upload, "scans").max_items
# The number of scans that are read or written before the event loop runs other tasks: live scans wait for the slice.
SLICE: Final = 32

Send = Callable[[pb.StreamScansResponse], None]


@dataclass(frozen=True, slots=True)
class UploadedScan:
    """A scan of an upload, with its future answer or its failure."""

    # The text that the device sent.
    scan_id: str
    answer: "asyncio.Future[Scan] | Failure"


class UploadLane:
    """The queue that records the uploads of one stream; at most `max_unanswered` scans may be unanswered.

    `end` ends the stream after an unexpected error; the device uploads again on its next stream.
    """

    def __init__(
        self,
        batcher: Batcher[Attempt, Scan],
        parser: AttemptParser,
        max_unanswered: int,
        send: Send,
        end: Callable[[BaseException], None],
    ) -> None:
        self._batcher = batcher
        self._parser = parser
        self._max_unanswered = max_unanswered
        self._send = send
        self._end = end
        # The uploads, each with the gate that was open when it came.
        self._waiting = list[tuple[pb.Upload, Gate]]()
        # The scans of the first upload that have been read.
        self._scans = list[UploadedScan]()
        self._outstanding = 0
        self._answering: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether every upload is answered."""
        return not self._waiting

    def submit(self, message: pb.Upload, gate: Gate) -> None:
        """Accept an upload, or reject a too long one; raise OVERLOADED where too many scans are unanswered."""
        if len(message.scans) > MAX_SCANS:
            self._send(rejected_message("", invalid("upload.scans", f"holds more than {MAX_SCANS}")))
            return
        if self._outstanding + len(message.scans) > self._max_unanswered:
            raise overloaded("offline scans unanswered on one stream")
        self._outstanding += len(message.scans)
        self._waiting.append((message, gate))
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer(), name="upload lane")
            self._answering.add_done_callback(self._check)

    async def close(self) -> None:
        """Cancel the uploads; scans whose batch has begun are recorded all the same."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.wait([self._answering])
        for scan in self._scans:
            if isinstance(scan.answer, asyncio.Future) and not scan.answer.cancel():
                # Without this call, asyncio logs an exception that was never retrieved.
                _ = scan.answer.cancelled() or scan.answer.exception()

    def _check(self, answering: "asyncio.Task[None]") -> None:
        if not answering.cancelled() and (error := answering.exception()) is not None:
            self._end(error)

    async def _answer(self) -> None:
        while self._waiting:
            message, gate = self._waiting[0]
            await self._read(message, gate)
            uploaded = await self._uploaded()
            self._scans.clear()
            self._waiting.pop(0)
            self._outstanding -= len(message.scans)
            self._send(pb.StreamScansResponse(uploaded=uploaded))
        self._answering = None

    async def _read(self, message: pb.Upload, gate: Gate) -> None:
        for index, scan in enumerate(message.scans):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            self._scans.append(UploadedScan(scan.scan_id, self._enqueue(scan, gate, f"upload.scans[{index}].")))

    async def _uploaded(self) -> pb.Uploaded:
        uploaded, reasons = pb.Uploaded(), Counter[str]()
        for index, scan in enumerate(self._scans):
            if index % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            outcome = await _outcome(scan)
            if isinstance(outcome, Failure):
                uploaded.rejected.append(rejection(scan.scan_id, outcome))
                reasons[outcome.reason] += 1
            else:
                uploaded.results.append(scan_message(outcome))
        for reason, count in reasons.items():
            log_refused_messages("scans of an upload were rejected", reason, count=count)
        return uploaded

    def _enqueue(self, message: pb.ScanAttempt, gate: Gate, path: str) -> "asyncio.Future[Scan] | Failure":
        fields = Fields(message, path)
        attempt = self._parser.read_offline(fields, gate)
        try:
            fields.check()
            self._parser.check_event(attempt.gate)
            return self._batcher.enqueue(attempt)
        except Failure as failure:
            return failure


async def _outcome(scan: UploadedScan) -> Scan | Failure:
    if isinstance(scan.answer, Failure):
        return scan.answer
    try:
        return await scan.answer
    except Failure as failure:
        return failure
