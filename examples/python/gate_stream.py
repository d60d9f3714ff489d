"""Scan the lines of standard input on one stream, which the gate opens again whenever it ends."""

import asyncio
import os
import random
import sys

import grpc.aio

from ticketing.client import TicketingError, aio, new_id
from ticketing.scans.v1 import scan_pb2, scan_service_pb2
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

ANSWER_SECONDS = float(os.environ.get("ANSWER_SECONDS", "10"))
Messages = grpc.aio.StreamStreamCall[scan_service_pb2.StreamScansRequest, scan_service_pb2.StreamScansResponse]


class StreamEndedError(Exception):
    """The service ended the stream, for example because its process stops."""


class RejectedError(Exception):
    """The service did not decide a scan, for example because it is busy."""


class Gate:
    """A gate with one stream; it waits for each verdict before the next scan."""

    def __init__(self, channel: grpc.aio.Channel, gate: scan_pb2.Gate) -> None:
        self._scans = ScanServiceStub(channel)
        self._gate = gate
        self._stream: Messages | None = None
        self._attempt = scan_service_pb2.ScanAttempt()

    async def scan(self, code: str) -> scan_pb2.Scan:
        """Return the durable record of a scan; raise TimeoutError, TicketingError or RejectedError without one."""
        if not self._attempt.scan_id or code != self._attempt.code:
            self._attempt = scan_service_pb2.ScanAttempt(scan_id=new_id(), code=code)
        # An unanswered scan keeps its scan_id, so that its repetition is recorded once.
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                try:
                    scan = await self._answer(self._attempt)
                except (TicketingError, StreamEndedError, asyncio.InvalidStateError) as error:
                    self._stream = None
                    # An error without a reason is one of the network. With a reason and no time to wait it stays.
                    if isinstance(error, TicketingError) and error.reason_name and error.retry_after is None:
                        raise
                    await asyncio.sleep(random.uniform(0.1, 0.5))
                else:
                    self._attempt = scan_service_pb2.ScanAttempt()
                    return scan

    async def _answer(self, attempt: scan_service_pb2.ScanAttempt) -> scan_pb2.Scan:
        if self._stream is None:
            self._stream = self._scans.StreamScans()
            await self._stream.write(scan_service_pb2.StreamScansRequest(open=self._gate))
        stream = self._stream
        await stream.write(scan_service_pb2.StreamScansRequest(scan=attempt))
        while isinstance(message := await stream.read(), scan_service_pb2.StreamScansResponse):
            match message.WhichOneof("message"):
                case "result" if message.result.scan_id == attempt.scan_id:
                    return message.result
                case "rejected" if message.rejected.scan_id == attempt.scan_id:
                    raise RejectedError(message.rejected.message)
                case "reconnect":
                    # This stream still answers; the next scan opens another one, at another process.
                    self._stream = None
        raise StreamEndedError


async def main() -> None:
    """Print the verdict on each line of standard input."""
    gate = scan_pb2.Gate(event_id=os.environ["EVENT_ID"], location="North 3")
    async with aio.connect(os.environ["SCANS_ADDRESS"], os.environ["SCANNER_TOKEN"], plain_text=True) as channel:
        door = Gate(channel, gate)
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                scan = await door.scan(line.strip())
            except (TimeoutError, TicketingError, RejectedError) as error:
                print("NOT DECIDED, scan again:", str(error) or "no connection", flush=True)
                continue
            print(scan_pb2.Verdict.Name(scan.verdict), scan_pb2.DenialReason.Name(scan.denial_reason), flush=True)


asyncio.run(main())
