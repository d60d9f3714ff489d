"""The device replica: rules, keys and tickets of one event, for decisions without a connection."""

import threading
from uuid import UUID

import grpc

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.gate.client import FIRST_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, ScanServiceClient
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_service_pb2 as pb


class DeviceReplica:
    """A thread that follows the admissions of one event and stores them."""

    def __init__(self, client: ScanServiceClient, event_id: UUID, store: Store, clock: Clock) -> None:
        self._client = client
        self._event_id = event_id
        self._store = store
        self._clock = clock
        self._call: grpc.Call | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replica")

    def start(self) -> None:
        """Start the thread; it opens the stream again whenever the stream ends."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel the stream and wait for the thread's end."""
        self._stopped.set()
        with self._lock:
            if self._call is not None:
                self._call.cancel()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            failures = 0 if self._follow() else failures + 1
            self._stopped.wait(backoff_seconds(failures, first=FIRST_BACKOFF_SECONDS, max_seconds=MAX_BACKOFF_SECONDS))

    def _follow(self) -> bool:
        """Store the changes of one stream until it ends; return whether there were any."""
        request = pb.WatchAdmissionsRequest(
            event_id=str(self._event_id), after_cursor=self._store.cursor(self._event_id)
        )
        with self._lock:
            if self._stopped.is_set():
                return False
            # The call has no deadline: a stream lasts for hours. The keepalive ends it if the service is unreachable.
            call = self._client.stub.WatchAdmissions(request, metadata=self._client.metadata)
            self._call = call
        has_changes = False
        # A replica that starts anew has no cursor until it is complete; until then the device uses the old replica.
        pending: list[pb.WatchAdmissionsResponse] = []
        try:
            for changes in call:
                pending.append(changes)
                if changes.cursor:
                    self._store.apply(self._event_id, pending, self._clock())
                    pending.clear()
                    has_changes = True
        except grpc.RpcError:
            # The gate's own stream reports the status of the connection; this thread only tries again.
            pass
        finally:
            call.cancel()
        return has_changes
