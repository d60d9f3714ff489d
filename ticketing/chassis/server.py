"""A gRPC server with what every service of ours has: health, reflection, limits, keepalive, a graceful end."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ticketing.chassis.interceptor import CallInterceptor
from ticketing.chassis.tls import PLAIN, Tls

REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024

OPTIONS: Final[Sequence[tuple[str, int]]] = (
    # Our own share the port; `_check_free` sees to it that nobody else does.
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    # Of one connection. With 1,000, streams that are reset as fast as they open fill the core's queue, and it cancels the
    # calls of others; with 200 they took 140 times as long, with 100, the least that RFC 9113 recommends, 4 to 8 times.
    ("grpc.max_concurrent_streams", 100),
    # So that flow control stays at 64 KiB a stream: else a device that floods has megabytes read before its stream ends.
    ("grpc.http2.bdp_probe", 0),
    # A peer that is gone is noticed after these two together; `keepalive_timeout_ms` has no effect in the C core.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Gate devices ping every few seconds to notice a dead Wi-Fi; the default would cut them off for it.
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.http2.max_ping_strikes", 0),
)

# grpc.aio takes calls one at a time, each some turns of the event loop after the one before, and calls wait for that while
# the loop is busy: with one server 64 callers bought 711 times a second, with four 898, with eight 975. The kernel spreads
# the connections over them, and what waits on one holds up no other.
SERVERS: Final = 8

Register = Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen and how long calls may take to end."""

    host: str
    port: int
    drain_seconds: float
    tls: Tls = PLAIN


class _Handlers:
    """What the code that protoc generates adds a service's handlers to: found by name, not registered one by one.

    For whichever call comes, grpc.aio waits anew for all methods that are registered: with 16 of them a tenth of a small
    call. Where none is, it waits for the next call and looks its method up.
    """

    def __init__(self, servers: Sequence[grpc.aio.Server]) -> None:
        self._servers = servers

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Take a service's handlers."""
        taken = tuple(handlers)
        for server in self._servers:
            server.add_generic_rpc_handlers(taken)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Leave the same handlers, one by one, alone."""


class Server:
    """What answers on one port.

    Args:
        listen: where.
        interceptor: what happens around every call.
        services: registers one servicer each, by the full name of its service.
    """

    def __init__(self, listen: Listen, interceptor: CallInterceptor, services: Mapping[str, Register]) -> None:
        self._listen = listen
        self._servers = [grpc.aio.server(interceptors=[interceptor], options=OPTIONS) for _ in range(SERVERS)]
        self._handlers = cast(grpc.aio.Server, _Handlers(self._servers))
        self._names = [*services, health.SERVICE_NAME]
        for register in services.values():
            register(self._handlers)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._handlers)
        self._add_reflection()

    async def start(self) -> int:
        """Listen and answer; return the port.

        Raises:
            OSError: the address is taken or not ours, or a certificate is gone.
        """
        port = self._listen.port
        _check_free(self._listen.host, port)
        for server, credentials in zip(self._servers, self._listen.tls.server_credentials(SERVERS), strict=True):
            # The first one finds the port where any will do.
            port = _add_port(server, f"{self._listen.host}:{port}", credentials)
        for server in self._servers:
            await server.start()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        return port

    async def drain(self, tell_streams: Callable[[], None]) -> None:
        """Refuse what is new, tell open streams to go elsewhere, give calls their time, then end.

        `server.stop(grace)` alone would wait the whole grace for one idle stream.
        """
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        tell_streams()
        await asyncio.gather(*(server.stop(self._listen.drain_seconds) for server in self._servers))

    async def _set_health(self, status: int) -> None:
        for name in (health.OVERALL_HEALTH, *self._names):
            await self._health.set(name, status)

    def _add_reflection(self) -> None:
        _describe_reflection_v1()
        names = [*self._names, reflection.SERVICE_NAME, REFLECTION_V1]
        reflection.enable_server_reflection(names, self._handlers)
        servicer = reflection.aio.ReflectionServicer(names)
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        handlers = grpc.method_handlers_generic_handler(REFLECTION_V1, {"ServerReflectionInfo": handler})
        self._handlers.add_generic_rpc_handlers((handlers,))


def _check_free(host: str, port: int) -> None:
    """Refuse a port that somebody listens on: with the option that lets ours share it, another's would share it too.

    Raises:
        OSError: it is taken, or nobody knows the host.
    """
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind, protocol) as probe:
                # Connections that ended a moment ago are no reason.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as error:
            # Whatever else is wrong, gRPC will say: of two addresses that a name stands for, one may do.
            if error.errno == errno.EADDRINUSE:
                raise OSError(f"cannot listen on {host}:{port}: {error}") from error


def _add_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


def _describe_reflection_v1() -> None:
    """Make the schema of reflection v1, which grpcio-reflection lacks: that of v1alpha under another name."""
    schema = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    old, new = schema.package, REFLECTION_V1.rpartition(".")[0]
    schema.name, schema.package = "grpc/reflection/v1/reflection.proto", new
    for field in (field for message in schema.message_type for field in message.field if field.type_name):
        field.type_name = field.type_name.replace(old, new)
    for method in schema.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    # To add the same schema again changes nothing.
    descriptor_pool.Default().Add(schema)


def stop_signal() -> asyncio.Event:
    """Give what SIGTERM or SIGINT sets from now on; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()

    def ask() -> None:
        asked.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask)
    return asked
