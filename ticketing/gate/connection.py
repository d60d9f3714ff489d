"""The connection to the scan service: one stream, opened again whenever it ends.

A scan waits up to ANSWER_SECONDS for its answer; then the device decides offline. The same stream uploads offline
decisions while no scan waits to be sent. Two threads serve a stream: gRPC's thread sends the requests, and the thread
of the connection handles the responses.
"""

import queue
import random
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import grpc

from ticketing.gate.client import ScanServiceClient
from ticketing.gate.connection_status import UNREACHABLE, ConnectionState, ConnectionStatus
from ticketing.gate.delivery import RETRIED, Delivery
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import time_of
from ticketing.gate.refusal import Refusal, error_text, refusal_of
from ticketing.gate.retrying import Outcome, RetryingThread
from ticketing.gate.store import Store
from ticketing.gate.stream_channel import SilentStreamError, StreamChannel
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# The time that a scan, and so a person at the gate, waits for the answer.
ANSWER_SECONDS: Final = 1.5
# A slow network needs up to 5 s for the connection, with TLS, and as long for the first response.
OPEN_SECONDS: Final = 10.0
# A stream with unanswered scans and without any response in this time is dead, whatever the keepalive reports.
SILENT_SECONDS: Final = 5.0
# The interval at which a stream without requests is checked for uploads.
_TICK_SECONDS: Final = 0.05
# Devices that were rejected at the same moment ask again at different ones.
_MAX_JITTER_SECONDS: Final = 0.1

NO_ANSWER: Final = "the service does not answer in time"

# With these rejections the service has not decided about an annulment, so an upload delivers it.
_UNDECIDED: Final = RETRIED | {error_reason_pb2.ERROR_REASON_SCAN_NOT_FOUND}

# "scan" or "annul", and the scan_id.
_Key = tuple[str, str]
_Answer = scan_pb2.Scan | pb.Rejection


@dataclass(slots=True, eq=False)
class GateStream:
    """The state of one stream, from its opening to its end."""

    delivery: Delivery
    outgoing: queue.SimpleQueue[pb.StreamScansRequest | None] = field(default_factory=queue.SimpleQueue)
    # All times are values of monotonic().
    start: float = field(default_factory=monotonic)
    opened: bool = False
    ended: bool = False
    # The ids of the scans sent on this stream and not answered; the service states the maximum.
    unanswered: set[str] = field(default_factory=set)
    max_unanswered: int = 0
    # The time when a request timed out; None after any response.
    silent_since: float | None = None

    def is_overdue(self, now: float) -> bool:
        """Return whether the opening, an answer or an upload has timed out."""
        return (
            (not self.opened and now - self.start > OPEN_SECONDS)
            or (self.silent_since is not None and now - self.silent_since > SILENT_SECONDS)
            or self.delivery.is_overdue(now)
        )


class Connection:
    """The connection of one device: a thread that keeps one stream open."""

    def __init__(
        self, client: ScanServiceClient, store: Store, clock: DeviceClock, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._client = client
        self._event_id = UUID(client.gate.event_id)
        self._store = store
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._changed = threading.Condition()
        self._waiting: dict[_Key, pb.StreamScansRequest] = {}
        self._answers: dict[_Key, _Answer] = {}
        self._stream = GateStream(Delivery(store, clock))
        self._channel = StreamChannel(client.open_channel)
        self.thread = RetryingThread("connection", self._serve, client.credential.is_renewed)
        # Whether the service accepted the credential in this run, and has not refused it since.
        self._accepted = False
        self.status = ConnectionStatus()

    def start(self) -> None:
        """Start the thread; it opens the stream again whenever the stream ends."""
        self.thread.start()

    def stop(self) -> None:
        """End the stream and the thread."""
        self.thread.stop()
        self._channel.close()

    def wait_for_first_attempt(self, seconds: float) -> None:
        """Wait until the first attempt to connect has succeeded or failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.status.state is not ConnectionState.CONNECTING, seconds)

    def is_refused(self) -> bool:
        """Return whether the service refused the device's credential, so that the device admits nobody."""
        return self.status.state is ConnectionState.REFUSED or self._stored_refusal() is not None

    def is_reachable(self) -> bool:
        """Return whether the device expects an answer of the service."""
        return self.status.state not in UNREACHABLE

    def wait_for_delivery(self, seconds: float) -> None:
        """Wait until every decision is delivered or rejected or the service is unreachable, at most `seconds`."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self.status.state in UNREACHABLE
                    or self._store.queue_length() <= len(self._stream.delivery.rejected)
                ),
                seconds,
            )

    def request_verdict(self, attempt: pb.ScanAttempt) -> scan_pb2.Scan | pb.Rejection | None:
        """Request a verdict; return the rejection if the service refused, None if it did not answer in time.

        Return None at once while the service is unreachable or the maximum of requests is unanswered. After a rejection
        with a retry time, request the verdict again as long as the person at the gate waits.
        """
        end = monotonic() + self._answer_seconds
        while True:
            key = ("scan", attempt.scan_id)
            answer = self._exchange(key, pb.StreamScansRequest(scan=attempt), end - monotonic())
            if not isinstance(answer, pb.Rejection) or not answer.HasField("retry_after"):
                return answer
            pause = answer.retry_after.ToTimedelta().total_seconds() + random.uniform(0, _MAX_JITTER_SECONDS)  # noqa: S311 - jitter is no secret
            if monotonic() + pause >= end or self.thread.wait(pause):
                return answer

    def annul(self, scan_id: str) -> scan_pb2.Scan | pb.Rejection | None:
        """Annul a scan and return it; return the rejection if the service refused, None if it did not decide."""
        passage = pb.Passage(scan_id=scan_id, passed=False)
        answer = self._exchange(("annul", scan_id), pb.StreamScansRequest(passage=passage), self._answer_seconds)
        return None if isinstance(answer, pb.Rejection) and answer.reason in _UNDECIDED else answer

    def _exchange(self, key: _Key, request: pb.StreamScansRequest, seconds: float) -> _Answer | None:
        with self._changed:
            stream = self._stream
            if self.status.state in UNREACHABLE or len(stream.unanswered) >= stream.max_unanswered > 0:
                return None
            self._waiting[key] = request
            if self.status.state is ConnectionState.ONLINE:
                self._send(key, request)
            self._changed.wait_for(lambda: key in self._answers or self.status.state in UNREACHABLE, seconds)
            del self._waiting[key]
            if key not in self._answers and self.status.state not in UNREACHABLE:
                # Until the service responds, later scans are decided offline without waiting.
                self.status = replace(self.status, state=ConnectionState.OFFLINE, problem=NO_ANSWER)
                self._stream.silent_since = monotonic()
            return self._answers.pop(key, None)

    def _send(self, key: _Key, request: pb.StreamScansRequest) -> None:
        self._stream.unanswered.add(key[1])
        self._stream.outgoing.put(request)

    def _serve(self) -> Outcome:
        """Serve one stream to its end; it lasted if it was open for more than a second."""
        stream = GateStream(Delivery(self._store, self._clock))
        metadata = self._client.credential.metadata()
        with self._changed:
            self._stream = stream
        refusal, problem = None, "the service ended the stream"
        try:
            # The call has no deadline: a stream lasts for hours. `is_overdue` and the keepalive end a dead stream.
            with self._channel.responses(
                lambda stub: stub.StreamScans(self._requests(stream), metadata=metadata),
                lambda: self.thread.is_stopped,
                lambda _: stream.is_overdue(monotonic()),
            ) as responses:
                for response in responses:
                    self._receive(stream, response)
        except SilentStreamError:
            problem = NO_ANSWER
        except grpc.RpcError as error:
            refusal, problem = refusal_of(error), error_text(error)
        finally:
            with self._changed:
                stream.ended = True
            # Also after an error of this program, no scan waits for this stream.
            outcome = self._end(stream, refusal, problem)
        return outcome

    def _end(self, stream: GateStream, refusal: Refusal | None, problem: str) -> Outcome:
        """Set the status after the end of a stream, and record a refusal."""
        outcome = Outcome.LASTED if stream.opened and monotonic() - stream.start > 1 else Outcome.FAILED
        status = replace(self.status, state=ConnectionState.OFFLINE, problem=problem, advice="")
        if outcome is Outcome.LASTED:
            status = replace(status, state=ConnectionState.CONNECTING)
        if refusal is not None and self._client.credential.is_renewed():
            # The file has a newer token, which the service has not refused.
            outcome, status = Outcome.LASTED, replace(status, state=ConnectionState.CONNECTING)
        elif refusal is not None:
            outcome, status = Outcome.REFUSED, _refused(status, refusal)
            self._accepted = False
        with suppress(sqlite3.Error):
            if outcome is Outcome.REFUSED and refusal is not None:
                # The refusal remains, also without a connection, until the service accepts the credential again.
                self._store.save_refusal(refusal, self._event_id)
            elif (stored := self._stored_refusal()) is not None:
                status = _refused(status, stored)
        with self._changed:
            self.status = status
            self._changed.notify_all()
        return outcome

    def _stored_refusal(self) -> Refusal | None:
        """Return the refusal of an earlier stream or run, unless the service has accepted the credential since."""
        return None if self._accepted else self._store.refusal(self._event_id)

    def _requests(self, stream: GateStream) -> Iterator[pb.StreamScansRequest]:
        """Yield the requests of one stream: the gate, scans and annulments, and uploads while no scan waits."""
        yield pb.StreamScansRequest(open=self._client.gate)
        while not stream.ended:
            try:
                request = stream.outgoing.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                if (upload := stream.delivery.next_upload()) is not None:
                    request = pb.StreamScansRequest(upload=upload)
                elif (report := stream.delivery.next_report()) is not None:
                    request = pb.StreamScansRequest(resent=report)
                else:
                    continue
            if request is None:
                return
            yield request

    def _receive(self, stream: GateStream, response: pb.StreamScansResponse) -> None:
        with self._changed:
            stream.silent_since = None
            if stream.opened and self.status.state is ConnectionState.OFFLINE:
                self.status = replace(self.status, state=ConnectionState.ONLINE, problem="")
            match response.WhichOneof("message"):
                case "opened":
                    self._handle_opened(stream, response.opened)
                case "result":
                    self._handle_answer(stream, "scan", response.result.scan_id, response.result)
                case "annulled":
                    self._handle_answer(stream, "annul", response.annulled.scan_id, response.annulled)
                case "rejected":
                    self._handle_rejection(stream, response.rejected)
                case "uploaded":
                    stream.delivery.handle_uploaded(response.uploaded)
                case "resend":
                    stream.delivery.handle_resend(response.resend)
                case "reconnect":
                    # Later requests wait for the next stream.
                    self.status = replace(
                        self.status, state=ConnectionState.CONNECTING, problem="the service is restarting"
                    )
                    stream.outgoing.put(None)
                case _:
                    # Only a newer service sends other messages.
                    pass
            self._changed.notify_all()

    def _handle_opened(self, stream: GateStream, opened: pb.GateOpened) -> None:
        # The service read its clock after the call began.
        self._clock.set(time_of(opened.server_time), timedelta(seconds=monotonic() - stream.start))
        with suppress(sqlite3.Error):
            # While the disk fails, the service still answers.
            self._store.save_clock(self._clock)
            self._store.correct_times(self._clock.boot_id, self._clock.start)
            self._store.clear_refusals(self._event_id)
        self._accepted = True
        stream.opened = True
        stream.max_unanswered, stream.delivery.max_scans = opened.max_outstanding_scans, opened.max_outstanding_uploads
        if opened.HasField("resend"):
            stream.delivery.handle_resend(opened.resend)
        self.status = ConnectionStatus(ConnectionState.ONLINE, opened.event_name)
        for key, request in self._waiting.items():
            self._send(key, request)

    def _handle_answer(self, stream: GateStream, kind: str, scan_id: str, answer: _Answer) -> None:
        stream.unanswered.discard(scan_id)
        if (kind, scan_id) in self._waiting:
            self._answers[kind, scan_id] = answer

    def _handle_rejection(self, stream: GateStream, rejection: pb.Rejection) -> None:
        if rejection.scan_id:
            for kind in ("scan", "annul"):
                self._handle_answer(stream, kind, rejection.scan_id, rejection)
        else:
            stream.delivery.handle_rejection()


def _refused(status: ConnectionStatus, refusal: Refusal) -> ConnectionStatus:
    return replace(status, state=ConnectionState.REFUSED, problem=refusal.text, advice=refusal.advice)
