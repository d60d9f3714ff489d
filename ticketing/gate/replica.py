"""The device replica: rules, keys and tickets of one event, for decisions without a connection."""

import threading
from uuid import UUID

import grpc

from ticketing.gate.client import ScanServiceClient
from ticketing.gate.device_clock import DeviceClock
from ticketing.gate.messages import time_of
from ticketing.gate.refusal import refusal_of
from ticketing.gate.retrying import Outcome, RetryingThread
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_service_pb2 as pb


class DeviceReplica:
    """A thread that follows the admissions of one event and stores them."""

    def __init__(self, client: ScanServiceClient, event_id: UUID, store: Store, clock: DeviceClock) -> None:
        self._client = client
        self._event_id = event_id
        self._store = store
        self._clock = clock
        self._call: grpc.Call | None = None
        self._lock = threading.Lock()
        self.thread = RetryingThread("replica", self._follow, client.credential.is_renewed)

    def start(self) -> None:
        """Start the thread; it opens the stream again whenever the stream ends."""
        self.thread.start()

    def stop(self) -> None:
        """Cancel the stream and wait for the thread's end."""
        self.thread.stop(self._cancel)

    def _cancel(self) -> None:
        with self._lock:
            if self._call is not None:
                self._call.cancel()

    def _follow(self) -> Outcome:
        """Store the changes of one stream until it ends."""
        self._store.discard_unresumable_replica(self._event_id)
        request = pb.WatchAdmissionsRequest(
            event_id=str(self._event_id), after_cursor=self._store.cursor(self._event_id)
        )
        metadata = self._client.credential.metadata()
        with self._lock:
            if self.thread.is_stopped:
                return Outcome.FAILED
            # The call has no deadline: a stream lasts for hours. The keepalive ends it if the service is unreachable.
            call = self._client.stub.WatchAdmissions(request, metadata=metadata)
            self._call = call
        outcome = Outcome.FAILED
        try:
            for changes in call:
                if changes.HasField("server_time"):
                    self._clock.set(time_of(changes.server_time), None)
                self._store.apply(self._event_id, changes, self._clock())
                if changes.cursor:
                    self._store.save_clock(self._clock)
                outcome = Outcome.LASTED
        except grpc.RpcError as error:
            # The gate's own stream reports the status of the connection; this thread only tries again.
            if refusal_of(error) is not None:
                outcome = Outcome.REFUSED
        finally:
            call.cancel()
        return outcome
