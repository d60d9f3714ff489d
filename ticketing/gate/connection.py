"""The way to the scan service: one stream, opened again whenever it ends.

A scan waits for its answer for a moment and is then the device's own to decide; what was decided alone goes up on the
same stream whenever no scan is waiting. Two threads serve a stream: gRPC's own takes what is to be sent, ours receives.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic
from typing import Final

import grpc

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.gate.link import AWAY, REFUSALS, Link, State, Status, said
from ticketing.gate.messages import time_of
from ticketing.gate.store import Store
from ticketing.scans.v1 import error_reason_pb2, scan_pb2
from ticketing.scans.v1 import scan_service_pb2 as pb

# A person stands there waiting.
ANSWER_SECONDS: Final = 1.5
OPEN_SECONDS: Final = 5.0
# With scans unanswered and not a word: the connection is as good as dead, whatever the keepalive says.
SILENT_SECONDS: Final = 5.0
UPLOAD_SECONDS: Final = 30.0
UPLOAD_SCANS: Final = 500
# A message may be 1 MiB; codes that are no tickets can be long.
UPLOAD_BYTES: Final = 256 * 1024
UPLOAD_PAUSE_SECONDS: Final = 5.0
FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 4.0
_TICK_SECONDS: Final = 0.05

# What the service may take another time.
_PASSING: Final = frozenset(
    {error_reason_pb2.ERROR_REASON_OVERLOADED, error_reason_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE}
)

# "scan" or "annul", and the scan_id.
_Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Stream:
    """One stream, from its opening to its end."""

    outgoing: queue.SimpleQueue[pb.StreamScansRequest | None] = field(default_factory=queue.SimpleQueue)
    begun: float = field(default_factory=monotonic)
    opened: bool = False
    ended: bool = False
    # Asked here and not answered; a device may have so many.
    unanswered: set[str] = field(default_factory=set)
    max_unanswered: int = 0
    max_uploads: int = 0
    # When a question was given up, without any word since.
    silent_since: float | None = None
    uploading: tuple[pb.ScanAttempt, ...] = ()
    upload_begun: float = 0.0
    next_upload: float = 0.0
    # Not taken on this stream; the next one tries again.
    refused: set[str] = field(default_factory=set)

    def overdue(self, now: float) -> bool:
        """Tell whether something was waited for in vain."""
        return (
            (not self.opened and now - self.begun > OPEN_SECONDS)
            or (self.silent_since is not None and now - self.silent_since > SILENT_SECONDS)
            or (bool(self.uploading) and now - self.upload_begun > UPLOAD_SECONDS)
        )


class Connection:
    """Keeps one stream open.

    Args:
        link: what it takes.
        store: what the device has to deliver.
        clock: the device's own.
        answer_seconds: how long a person waits.
    """

    def __init__(self, link: Link, store: Store, clock: Clock, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._link = link
        self._store = store
        self._clock = clock
        self._answer_seconds = answer_seconds
        self._changed = threading.Condition()
        self._waiting: dict[_Key, pb.StreamScansRequest] = {}
        self._answers: dict[_Key, scan_pb2.Scan | None] = {}
        self._stream = Stream()
        self._call: grpc.Call | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connection")
        self.status = Status()

    def start(self) -> None:
        """Connect, and go on connecting."""
        self._thread.start()

    def stop(self) -> None:
        """End the stream."""
        self._stopped.set()
        with self._changed:
            if self._call is not None:
                self._call.cancel()
        self._thread.join()

    def settle(self, seconds: float) -> None:
        """Wait until the first attempt to connect has succeeded or failed."""
        with self._changed:
            self._changed.wait_for(lambda: self.status.state is not State.CONNECTING, seconds)

    def refused(self) -> bool:
        """Tell whether the device may let nobody in: its credential is not taken, or not for this event."""
        return self.status.state is State.REFUSED or bool(self._store.setting("refused"))

    def deliver(self, seconds: float) -> None:
        """Wait until everything is delivered that can be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.status.state in AWAY or self._store.queue_length() <= len(self._stream.refused), seconds
            )

    def ask(self, attempt: pb.ScanAttempt) -> scan_pb2.Scan | None:
        """Ask for a verdict; None where none came in time, or the service did not take the question."""
        return self._exchange(("scan", attempt.scan_id), pb.StreamScansRequest(scan=attempt))

    def annul(self, scan_id: str) -> scan_pb2.Scan | None:
        """Take a scan back; None where it could not be, or not in time."""
        passage = pb.Passage(scan_id=scan_id, passed=False)
        return self._exchange(("annul", scan_id), pb.StreamScansRequest(passage=passage))

    def _exchange(self, key: _Key, request: pb.StreamScansRequest) -> scan_pb2.Scan | None:
        with self._changed:
            stream = self._stream
            if self.status.state in AWAY or len(stream.unanswered) >= stream.max_unanswered > 0:
                return None
            self._waiting[key] = request
            if self.status.state is State.ONLINE:
                self._send(key, request)
            self._changed.wait_for(lambda: key in self._answers or self.status.state in AWAY, self._answer_seconds)
            del self._waiting[key]
            if key not in self._answers and self.status.state not in AWAY:
                # Nobody else is kept waiting until the service says something.
                self.status = replace(self.status, state=State.OFFLINE, problem="no answer in time")
                self._stream.silent_since = monotonic()
            return self._answers.pop(key, None)

    def _send(self, key: _Key, request: pb.StreamScansRequest) -> None:
        self._stream.unanswered.add(key[1])
        self._stream.outgoing.put(request)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            lasted = self._serve()
            failures = 0 if lasted else failures + 1
            # The first attempt after a stream that worked comes at once: a restarted service is not worth a pause.
            longest = LONGEST_BACKOFF_SECONDS if failures else _TICK_SECONDS
            self._stopped.wait(backoff_seconds(failures, first=FIRST_BACKOFF_SECONDS, longest=longest))

    def _serve(self) -> bool:
        """Serve one stream to its end; tell whether it was of use."""
        stream = Stream()
        with self._changed:
            if self._stopped.is_set():
                return False
            self._stream = stream
            # No deadline: it stays for hours. `overdue` and the keepalive end it where nobody is there.
            call = self._link.stub.StreamScans(self._requests(stream), metadata=self._link.metadata)
            self._call = call
        code, problem = None, "the service ended the stream"
        try:
            for response in call:
                self._receive(stream, response)
        except grpc.RpcError as error:
            code = error.code()
            problem = said(error) if code is grpc.StatusCode.UNAVAILABLE else f"{code.name}: {said(error)}"
        finally:
            with self._changed:
                stream.ended = True
            call.cancel()
        if code is grpc.StatusCode.UNAUTHENTICATED:
            # It holds until the service says otherwise, also where nobody can be reached.
            self._store.keep_setting("refused", problem)
        lasted = stream.opened and monotonic() - stream.begun > 1
        with self._changed:
            state = State.CONNECTING if lasted else State.OFFLINE
            if code in REFUSALS or self._store.setting("refused"):
                state = State.REFUSED
            self.status = replace(self.status, state=state, problem=problem)
            self._changed.notify_all()
        return lasted

    def _requests(self, stream: Stream) -> Iterator[pb.StreamScansRequest]:
        """What goes up: the gate, then scans as they are asked, and what was decided alone in between."""
        yield pb.StreamScansRequest(open=self._link.gate)
        while not stream.ended:
            try:
                request = stream.outgoing.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                request = self._upload(stream)
                if request is None:
                    if stream.overdue(monotonic()) and self._call is not None:
                        self._call.cancel()
                    continue
            if request is None:
                return
            yield request

    def _upload(self, stream: Stream) -> pb.StreamScansRequest | None:
        limit = min(UPLOAD_SCANS, stream.max_uploads)
        if stream.uploading or limit < 1 or monotonic() < stream.next_upload:
            return None
        with self._changed:
            # gRPC's thread outlives the stream by a moment; the store may not.
            attempts = () if stream.ended else tuple(self._store.queued(limit, UPLOAD_BYTES, stream.refused))
        if not attempts:
            return None
        stream.uploading, stream.upload_begun = attempts, monotonic()
        return pb.StreamScansRequest(upload=pb.Upload(scans=attempts))

    def _receive(self, stream: Stream, response: pb.StreamScansResponse) -> None:
        with self._changed:
            stream.silent_since = None
            if stream.opened and self.status.state is State.OFFLINE:
                self.status = replace(self.status, state=State.ONLINE, problem="")
            match response.WhichOneof("message"):
                case "opened":
                    self._opened(stream, response.opened)
                case "result":
                    self._answered(stream, "scan", response.result.scan_id, response.result)
                case "annulled":
                    self._answered(stream, "annul", response.annulled.scan_id, response.annulled)
                case "rejected":
                    self._rejected(stream, response.rejected)
                case "uploaded":
                    self._uploaded(stream, response.uploaded)
                case "reconnect":
                    # What is asked from here on waits for the next stream.
                    self.status = replace(self.status, state=State.CONNECTING, problem="the service is restarting")
                    stream.outgoing.put(None)
                case _:
                    # A newer service says more than this device knows.
                    pass
            self._changed.notify_all()

    def _opened(self, stream: Stream, opened: pb.GateOpened) -> None:
        offset = time_of(opened.server_time) - self._clock()
        self._store.keep_setting("clock_offset", str(offset / timedelta(microseconds=1)))
        self._store.keep_setting("refused", "")
        stream.opened = True
        stream.max_unanswered, stream.max_uploads = opened.max_outstanding_scans, opened.max_outstanding_uploads
        self.status = Status(State.ONLINE, opened.event_name)
        for key, request in self._waiting.items():
            self._send(key, request)

    def _answered(self, stream: Stream, kind: str, scan_id: str, scan: scan_pb2.Scan | None) -> None:
        stream.unanswered.discard(scan_id)
        if (kind, scan_id) in self._waiting:
            self._answers[kind, scan_id] = scan

    def _rejected(self, stream: Stream, rejection: pb.Rejection) -> None:
        if rejection.scan_id:
            for kind in ("scan", "annul"):
                self._answered(stream, kind, rejection.scan_id, None)
        elif stream.uploading:
            stream.uploading = ()
            stream.next_upload = monotonic() + UPLOAD_PAUSE_SECONDS

    def _uploaded(self, stream: Stream, uploaded: pb.Uploaded) -> None:
        recorded = {scan.scan_id for scan in uploaded.results}
        self._store.delivered([scan for scan in stream.uploading if scan.scan_id in recorded], self._clock())
        passing = {rejection.scan_id for rejection in uploaded.rejected if rejection.reason in _PASSING}
        stream.refused |= {scan.scan_id for scan in stream.uploading} - recorded - passing
        if passing:
            stream.next_upload = monotonic() + UPLOAD_PAUSE_SECONDS
        stream.uploading = ()
