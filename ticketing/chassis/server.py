"""The gRPC server of every service: health, reflection, limits, keepalive, graceful shutdown."""

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
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ticketing.chassis.health import Health
from ticketing.chassis.health_service import NAME as HEALTH_NAME
from ticketing.chassis.health_service import HealthService
from ticketing.chassis.interceptor import CallInterceptor
from ticketing.chassis.tls import PLAIN, Tls

REFLECTION_V1: Final = "grpc.reflection.v1.ServerReflection"
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
MAX_METADATA_BYTES: Final = 16 * 1024

OPTIONS: Final[Sequence[tuple[str, int]]] = (
    # The servers of one process share the port; `_check_port_is_free` keeps other processes from sharing it.
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * MAX_METADATA_BYTES),
    # This bounds one connection. With 1,000, streams that are reset as fast as they open fill the core's queue, and the core cancels
    # calls of others. With 200 those calls took 140 times as long; with 100, the minimum of RFC 9113, 4 to 8 times.
    ("grpc.max_concurrent_streams", 100),
    # Without it flow control stays at 64 KiB per stream; with it megabytes of a flooding device arrive before its stream ends.
    ("grpc.http2.bdp_probe", 0),
    # The server notices a dead peer after the sum of these two; `keepalive_timeout_ms` has no effect in the C core.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Gate devices ping every few seconds to detect a dead Wi-Fi; by default the core would close their connections.
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.http2.max_ping_strikes", 0),
)

# grpc.aio accepts calls one at a time, each some iterations of the event loop after the previous one, so calls wait while
# the loop is busy. One server answered 64 callers 711 times a second, four servers 898 times, eight 975 times. The kernel
# distributes the connections over the servers, and calls that wait on one server block no other.
SERVERS: Final = 8

# Balancers ask for health each second and give up after one: a process that sells must not look dead.
REGISTERED: Final = frozenset({(HEALTH_NAME, "Check")})

RegisterServicer = Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """The address of a server, its TLS files, and the times of its shutdown."""

    host: str
    port: int
    # The time that calls get to end.
    drain_seconds: float
    tls: Tls = PLAIN
    # The time before, in which the process serves but is not ready, so that balancers send new calls elsewhere.
    drain_delay_seconds: float = 0.0
    # True in a worker: its supervisor holds the port, and other workers listen there too.
    shares_port: bool = False


class _GenericHandlers:
    """A registry that adds the handlers of protoc's code as generic ones, which are found by name.

    For each call, grpc.aio waits for all registered methods: with 16 of them this takes a tenth of a small call. Without
    registered methods it waits for one call and looks its method up. Calls of a registered method do not wait behind
    others until they are accepted, so REGISTERED ones are answered while calls wait for a second.
    """

    def __init__(self, servers: Sequence[grpc.aio.Server]) -> None:
        self._servers = servers

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add the handlers of a service to every server."""
        added = tuple(handlers)
        for server in self._servers:
            server.add_generic_rpc_handlers(added)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the methods of REGISTERED among the same handlers, which protoc's code adds one by one."""
        for server in self._servers:
            server.add_registered_method_handlers(
                service, {name: handler for name, handler in handlers.items() if (service, name) in REGISTERED}
            )


class Server:
    """The servers of one process on one port; `services` registers each servicer, by the full name of its service."""

    def __init__(
        self,
        listen: ListenSettings,
        interceptor: CallInterceptor,
        services: Mapping[str, RegisterServicer],
        health: Health,
    ) -> None:
        self._listen = listen
        self._health = health
        self._servers = [grpc.aio.server(interceptors=[interceptor], options=OPTIONS) for _ in range(SERVERS)]
        self._handlers = cast(grpc.aio.Server, _GenericHandlers(self._servers))
        self._names = [*services, HEALTH_NAME]
        for register in services.values():
            register(self._handlers)
        self._health_service = HealthService(health, services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health_service, self._handlers)
        self._add_reflection()

    async def start(self) -> int:
        """Listen and serve; return the port.

        Raises:
            OSError: the address is in use or not of this machine, or a certificate file is missing.
        """
        port = self._listen.port
        if not self._listen.shares_port:
            _check_port_is_free(self._listen.host, port)
        for server, credentials in zip(self._servers, self._listen.tls.server_credentials(SERVERS), strict=True):
            # With port 0 the first server chooses the port of all.
            port = _add_port(server, f"{self._listen.host}:{port}", credentials)
        for server in self._servers:
            await server.start()
        self._health.begin()
        self._health_service.task.start()
        return port

    async def drain(self, end_streams: Callable[[], None]) -> None:
        """Become not ready, wait, end the streams, refuse new calls, and wait until calls under way have ended.

        `end_streams` makes open streams end; `server.stop(grace)` alone would wait the whole grace for an idle one.
        """
        self._health.drain()
        await self._health_service.task.stop()
        self._health_service.notify()
        await asyncio.sleep(self._listen.drain_delay_seconds)
        end_streams()
        self._health_service.end()
        await asyncio.gather(*(server.stop(self._listen.drain_seconds) for server in self._servers))

    def _add_reflection(self) -> None:
        _register_reflection_v1_schema()
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


def _check_port_is_free(host: str, port: int) -> None:
    """Check that no process listens on the port: SO_REUSEPORT would let this process share it silently."""
    for family, kind, protocol, _, address in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        try:
            with socket.socket(family, kind, protocol) as probe:
                # Connections in TIME_WAIT do not make the port busy.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as error:
            # gRPC reports all other errors: of two addresses of a host name, one may work.
            if error.errno == errno.EADDRINUSE:
                raise OSError(f"cannot listen on {host}:{port}: {error}") from error


def _add_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error


def _register_reflection_v1_schema() -> None:
    """Register the schema of reflection v1, which grpcio-reflection lacks: that of v1alpha under another name."""
    schema = descriptor_pb2.FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    old, new = schema.package, REFLECTION_V1.rpartition(".")[0]
    schema.name, schema.package = "grpc/reflection/v1/reflection.proto", new
    for field in (field for message in schema.message_type for field in message.field if field.type_name):
        field.type_name = field.type_name.replace(old, new)
    for method in schema.service[0].method:
        method.input_type = method.input_type.replace(old, new)
        method.output_type = method.output_type.replace(old, new)
    # Adding the same schema again has no effect.
    descriptor_pool.Default().Add(schema)


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM or SIGINT sets from now on; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def request_stop() -> None:
        stop.set()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, request_stop)
    return stop
