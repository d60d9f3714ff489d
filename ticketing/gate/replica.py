"""The device replica: rules, keys and tickets of one event, for decisions without a connection."""

from time import monotonic
from typing import Final
from uuid import UUID

import grpc

from ticketing.gate.client import ScanServiceClient
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import time_of
from ticketing.gate.refusal import refusal_of
from ticketing.gate.retrying import Outcome, RetryingThread
from ticketing.gate.store import Store
from ticketing.gate.stream_channel import SilentStreamError, StreamChannel
from ticketing.scans.v1 import scan_service_pb2 as pb

# The service sends a response at least every ten seconds, so a stream that misses three of them is dead.
SILENT_SECONDS: Final = 30.0
# After streams without any response this grows: a page of tickets may take longer on a slow network.
MAX_SILENT_SECONDS: Final = 240.0
# A stream without tickets that ended sooner has failed.
LASTED_SECONDS: Final = 1.0


class DeviceReplica:
    """A thread that follows the admissions of one event and stores them."""

    def __init__(self, client: ScanServiceClient, event_id: UUID, store: Store, clock: DeviceClock) -> None:
        self._client = client
        self._event_id = event_id
        self._store = store
        self._clock = clock
        self._channel = StreamChannel(client.open_channel)
        self._silent_seconds = SILENT_SECONDS
        self.thread = RetryingThread("replica", self._follow, client.credential.is_renewed)

    def start(self) -> None:
        """Start the thread; it opens the stream again whenever the stream ends."""
        self.thread.start()

    def stop(self) -> None:
        """End the stream and the thread."""
        self.thread.stop()
        self._channel.close()

    def _follow(self) -> Outcome:
        """Store the changes of one stream until it ends."""
        self._store.discard_unresumable_replica(self._event_id)
        request = pb.WatchAdmissionsRequest(
            event_id=str(self._event_id), after_cursor=self._store.cursor(self._event_id)
        )
        metadata = self._client.credential.metadata()
        begin, is_answered = monotonic(), False
        outcome = Outcome.FAILED
        try:
            # The call has no deadline: a stream lasts for hours.
            with self._channel.responses(
                lambda stub: stub.WatchAdmissions(request, metadata=metadata),
                lambda: self.thread.is_stopped,
                lambda seconds: seconds > self._silent_seconds,
            ) as responses:
                for changes in responses:
                    is_answered = True
                    self._store_changes(changes)
                    # Every stream begins with a response, also that of a service that fails after it.
                    if changes.tickets or monotonic() - begin > LASTED_SECONDS:
                        outcome = Outcome.LASTED
        except SilentStreamError:
            if not is_answered:
                self._silent_seconds = min(2 * self._silent_seconds, MAX_SILENT_SECONDS)
        except grpc.RpcError as error:
            # The gate's own stream reports the status of the connection; this thread only tries again.
            if refusal_of(error) is not None:
                outcome = Outcome.REFUSED
        return outcome

    def _store_changes(self, changes: pb.WatchAdmissionsResponse) -> None:
        if changes.HasField("server_time"):
            self._clock.set(time_of(changes.server_time), None)
        self._store.apply(self._event_id, changes, self._clock())
        if changes.cursor:
            self._store.save_clock(self._clock)
            if self._clock.is_known:
                self._store.delete_past_events(self._event_id, self._clock())
            self._silent_seconds = SILENT_SECONDS
