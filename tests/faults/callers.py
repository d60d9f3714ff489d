"""A client that repeats a call until it is answered, and the record of what it sent and received."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from tests.faults.record import OK, Record
from tests.faults.site import SCANS, TICKETS
from ticketing.scans.v1 import device_service_pb2_grpc, scan_service_pb2_grpc
from ticketing.tickets.v1 import event_service_pb2_grpc, purchase_service_pb2_grpc, ticket_service_pb2_grpc

CALL_SECONDS: Final = 4.0
RETRY_SECONDS: Final = 0.4
# A client that fails for so long after the last fault reports that the system did not come back.
PATIENCE_SECONDS: Final = 90.0
# After these errors the call may have been done, or may succeed later.
ASK_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }
)
CHANNEL_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.keepalive_time_ms", 5_000),
)
STUBS: Final[Mapping[str, Sequence[type[Any]]]] = {
    TICKETS: (
        event_service_pb2_grpc.EventServiceStub,
        purchase_service_pb2_grpc.PurchaseServiceStub,
        ticket_service_pb2_grpc.TicketServiceStub,
    ),
    SCANS: (scan_service_pb2_grpc.ScanServiceStub, device_service_pb2_grpc.DeviceServiceStub),
}


class RefusedError(Exception):
    """The service refused a call for a reason of its catalogue."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class GaveUpError(Exception):
    """The client gave up without an answer: the call may or may not have been done."""


class Clock:
    """The phase of a run: clients work until `stop`, and repeat their last calls for a bounded time after it."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        # A time of `monotonic`, set when the last fault has ended.
        self.patience_until = float("inf")

    def is_running(self) -> bool:
        """Return whether clients begin new work."""
        return not self.stopped.is_set()

    def stop(self, patience_seconds: float) -> None:
        """Let clients finish what they have begun."""
        self.patience_until = time.monotonic() + patience_seconds
        self.stopped.set()


class Caller:
    """A client with one access token, which calls any process of a service; `addresses` are those of each service."""

    def __init__(  # noqa: PLR0913, PLR0917 - its surroundings
        self,
        addresses: Mapping[str, Sequence[str]],
        metadata: Sequence[tuple[str, str]],
        record: Record,
        clock: Clock,
        choice: random.Random,
        errors: Counter[str],
    ) -> None:
        self._metadata = tuple(metadata)
        self.record, self.clock, self.random = record, clock, choice
        # The errors that clients saw, by code; INTERNAL and UNKNOWN are faults of the service.
        self._errors = errors
        self._channels: list[grpc.Channel] = []
        # The methods of every process that has one, by name.
        self._methods: dict[str, list[Any]] = defaultdict(list)
        for service, of_service in addresses.items():
            for address in of_service:
                channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
                self._channels.append(channel)
                for stub in STUBS[service]:
                    for name, method in vars(stub(channel)).items():
                        self._methods[name].append(method)

    def close(self) -> None:
        """Close the channels."""
        for channel in self._channels:
            channel.close()

    def call(self, rpc: str, request: Any, give_up: float = 0.0) -> Any:
        """Make a call until it is answered; with the probability `give_up`, stop at the first lost answer.

        Raises:
            RefusedError: the service refused the call.
            GaveUpError: nobody knows whether the call was done.
        """
        while True:
            try:
                method = self.random.choice(self._methods[rpc])
                return method(request, metadata=self._metadata, timeout=CALL_SECONDS)
            except grpc.RpcError as error:
                self._errors[code_of(error).name] += 1
                reason = reason_of(error)
                if code_of(error) not in ASK_AGAIN:
                    if code_of(error) in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}:
                        self._errors[f"{rpc}: {code_of(error).name} {details_of(error)}"] += 1
                    else:
                        raise RefusedError(reason or code_of(error).name) from error
                if time.monotonic() > self.clock.patience_until:
                    raise GaveUpError(f"{rpc}: {code_of(error).name} {details_of(error)}") from error
                if code_of(error) is not grpc.StatusCode.RESOURCE_EXHAUSTED and self.random.random() < give_up:
                    raise GaveUpError(rpc) from error
            time.sleep(self.random.uniform(0, RETRY_SECONDS))

    def operate(
        self, kind: str, rpc: str, request: Any, *, answer: Any = None, give_up: float = 0.03, **facts: Any
    ) -> Any:
        """Make a call as a recorded operation; `answer` returns the facts of the answer to record.

        Returns:
            None where the call was refused or unanswered.
        """
        number = self.record.begin(kind, **facts)
        try:
            response = self.call(rpc, request, give_up)
        except RefusedError as refused:
            self.record.end(number, refused.reason)
            return None
        except GaveUpError:
            return None
        self.record.end(number, OK, **({} if answer is None else answer(response)))
        return response


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status of a failed call."""
    assert isinstance(error, grpc.Call)
    code: grpc.StatusCode = error.code()
    return code


def details_of(error: grpc.RpcError) -> str:
    """Return the text of a failed call."""
    assert isinstance(error, grpc.Call)
    return str(error.details())


def reason_of(error: grpc.RpcError) -> str:
    """Return the reason of a refusal; empty if it has none, as errors of the network."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    info = ErrorInfo()
    for detail in status.details if status else ():
        if detail.Unpack(info):
            return str(info.reason).removeprefix("ERROR_REASON_")
    return ""
