"""The name of a ticket's holder, fetched in a thread of its own once the verdict is shown.

The thread asks for the latest scan alone, and one scan at a time. Without an answer in time, no name is shown.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

import grpc

from ticketing.admission.scans import DenialReason
from ticketing.gate.client import ScanServiceClient
from ticketing.gate.messages import Answer
from ticketing.gate.retrying import Outcome, RetryingThread
from ticketing.scans.v1 import scan_service_pb2 as pb
from ticketing.scans.v1.scan_service_pb2_grpc import ScanServiceStub

NAME_SECONDS: Final = 2.0
# Nobody looks at an older verdict any more.
MAX_AGE_SECONDS: Final = 4.0
# An event that does not allow names may allow them later.
NOT_ALLOWED_SECONDS: Final = 300.0
# With these reasons, the service has not found a ticket of the event.
_NO_TICKET: Final = frozenset({DenialReason.TICKET_NOT_FOUND, DenialReason.INVALID_SIGNATURE, DenialReason.WRONG_EVENT})


class HolderNames:
    """The names for one gate; `show` receives the scan_id and the name."""

    def __init__(
        self,
        client: ScanServiceClient,
        is_reachable: Callable[[], bool],
        show: Callable[[str, str], None],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._client = client
        self._is_reachable = is_reachable
        self._show = show
        self._now = now
        self._changed = threading.Condition()
        # The latest scan, with the time of its answer.
        self._wanted: tuple[str, float] | None = None
        self._pause_end = float("-inf")
        # The connection is kept while names are shown.
        self._channel: grpc.Channel | None = None
        self.thread = RetryingThread("names of holders", self._serve)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """End the thread and the connection."""
        self.thread.stop_soon()
        with self._changed:
            self._changed.notify()
        self.thread.stop()
        self._close()

    def request(self, answer: Answer) -> None:
        """Let the thread fetch the name for an answer that is shown now; the caller does not wait."""
        is_wanted = answer.scan_id and not answer.offline and answer.reason not in _NO_TICKET
        with self._changed:
            self._wanted = (answer.scan_id, self._now()) if is_wanted else None
            self._changed.notify()

    def _serve(self) -> Outcome:
        """Fetch and show the name for the latest scan, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted is not None or self.thread.is_stopped)
            wanted, self._wanted = self._wanted, None
        if wanted is None or not self._is_reachable():
            return Outcome.LASTED
        (scan_id, answer_time), now = wanted, self._now()
        if now < self._pause_end or now - answer_time > MAX_AGE_SECONDS:
            return Outcome.LASTED
        try:
            response = self._ask(scan_id)
        except grpc.RpcError as error:
            self._close()
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                # The service of a version before has no names.
                self._pause_end = self._now() + NOT_ALLOWED_SECONDS
                return Outcome.LASTED
            return Outcome.FAILED
        if not response.allowed:
            self._close()
            self._pause_end = self._now() + NOT_ALLOWED_SECONDS
        elif response.name:
            self._show(scan_id, response.name)
        return Outcome.LASTED

    def _ask(self, scan_id: str) -> pb.GetHolderResponse:
        if self._channel is None:
            self._channel = self._client.open_channel()
        request = pb.GetHolderRequest(event_id=self._client.gate.event_id, scan_id=scan_id)
        metadata = self._client.credential.metadata()
        return ScanServiceStub(self._channel).GetHolder(request, timeout=NAME_SECONDS, metadata=metadata)

    def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
