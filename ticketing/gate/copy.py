"""The device's copy of its event: rules, keys and tickets, followed as they change, for when it has to decide alone."""

import threading
from typing import Final
from uuid import UUID

import grpc

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.clock import Clock
from ticketing.gate.link import Link
from ticketing.gate.store import Store
from ticketing.scans.v1 import scan_service_pb2 as pb

FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 4.0


class Copy:
    """Follows one event.

    Args:
        link: to the scan service.
        event_id: the event.
        store: takes the copy.
        clock: the device's own.
    """

    def __init__(self, link: Link, event_id: UUID, store: Store, clock: Clock) -> None:
        self._link = link
        self._event_id = event_id
        self._store = store
        self._clock = clock
        self._call: grpc.Call | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="copy")

    def start(self) -> None:
        """Follow, and go on following."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stopped.set()
        with self._lock:
            if self._call is not None:
                self._call.cancel()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            failures = 0 if self._follow() else failures + 1
            self._stopped.wait(backoff_seconds(failures, first=FIRST_BACKOFF_SECONDS, longest=LONGEST_BACKOFF_SECONDS))

    def _follow(self) -> bool:
        """Follow until the stream ends; tell whether it brought anything."""
        request = pb.WatchAdmissionsRequest(
            event_id=str(self._event_id), after_cursor=self._store.cursor(self._event_id)
        )
        with self._lock:
            if self._stopped.is_set():
                return False
            # No deadline: changes come for hours. The keepalive ends it where nobody is there.
            call = self._link.stub.WatchAdmissions(request, metadata=self._link.metadata)
            self._call = call
        came = False
        # A copy that begins anew has no cursor before it is whole; until then the old one is better than half of it.
        waiting: list[pb.WatchAdmissionsResponse] = []
        try:
            for changes in call:
                waiting.append(changes)
                if changes.cursor:
                    self._store.apply(self._event_id, waiting, self._clock())
                    waiting.clear()
                    came = True
        except grpc.RpcError:
            # How the connection is, the gate's stream tells; this one only tries again.
            pass
        finally:
            call.cancel()
        return came
