"""The gRPC service config of both services: gRPC itself repeats calls whose repetition has no second effect."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions

_PACKAGES: Final = ("ticketing.tickets.v1", "ticketing.scans.v1")
# The last try begins about 7.5 s after the first one, which is long enough for the restart of a service. A service that
# refuses a call states the wait itself (grpc-retry-pushback-ms), and that it must not be repeated. gRPC adds a jitter of
# 20 % to its own waits. It allows 5 tries at most. A service that stops ends the calls that it has not accepted with
# CANCELLED; gRPC repeats no call that the caller itself cancels.
_RETRY_POLICY: Final = {
    "maxAttempts": 5,
    "initialBackoff": "0.5s",
    "backoffMultiplier": 2,
    "maxBackoff": "4s",
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
}
# A failed try costs one token, and a successful call adds half a token. The channel repeats nothing while it has at most
# half of its tokens. A service carries 100 calls on a connection: when it restarts, each of them may fail five times.
_RETRY_THROTTLING: Final = {"maxTokens": 1_000, "tokenRatio": 0.5}


def methods() -> Iterator[MethodDescriptor]:
    """Yield every method of both services, by service and in the order of the contract."""
    for package in map(importlib.import_module, _PACKAGES):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith("_service_pb2"):
                for service in importlib.import_module(module.name).DESCRIPTOR.services_by_name.values():
                    yield from service.methods


def is_repeatable(method: MethodDescriptor) -> bool:
    """Return whether a repetition of the same message has no second effect.

    The contract states it by `idempotency_level`. A method with a `request_id` that may be empty cannot state it, but
    the client never leaves the id empty.
    """
    is_idempotent = method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    return not method.client_streaming and (is_idempotent or "request_id" in method.input_type.fields_by_name)


def service_config() -> str:
    """Return the service config as JSON, for the channel option `grpc.service_config`."""
    names = [
        {"service": method.containing_service.full_name, "method": method.name}
        for method in methods()
        if is_repeatable(method)
    ]
    config: dict[str, Any] = {
        "methodConfig": [{"name": names, "retryPolicy": _RETRY_POLICY}],
        "retryThrottling": _RETRY_THROTTLING,
    }
    return json.dumps(config)
