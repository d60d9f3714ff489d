"""The health service of gRPC (grpc.health.v1), which answers from the health of this process.

That of grpcio-health-checking has one lock for the watchers of a name and its changes: a watcher that reads nothing
would block the change, and with it the drain of the process.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ticketing.chassis.health import READINESS, Health
from ticketing.chassis.tasks import BackgroundTask

NAME: Final = "grpc.health.v1.Health"
# The interval at which a change of readiness reaches watchers.
HEALTH_SECONDS: Final = 0.5

ServicerContext = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
Response = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):
    """The answers for one server.

    The empty name is SERVING while this process answers at all. READINESS and `names`, the services of the server, are
    SERVING while the process is ready.
    """

    def __init__(self, health: Health, names: Collection[str]) -> None:
        self._health = health
        self._names = {READINESS, *names, NAME}
        self._is_ready = False
        self._is_ended = False
        # Each change sets the event and replaces it.
        self._changed = asyncio.Event()
        # Its step notifies watchers of changes.
        self.task: BackgroundTask = health.tasks.new("health", self._look, HEALTH_SECONDS)

    def notify(self) -> None:
        """Send a change of readiness to the watchers."""
        is_ready = self._health.report().is_ready
        if is_ready != self._is_ready:
            self._is_ready = is_ready
            self._wake()

    def end(self) -> None:
        """End the streams of the watchers, for which the drain of the server would wait."""
        self._is_ended = True
        self._wake()

    async def Check(  # noqa: N802 - the name in the contract
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext
    ) -> Response:
        """Answer for one name; NOT_FOUND for an unknown one."""
        status = self._status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return Response(status=status)

    async def Watch(  # noqa: N802 - the name in the contract
        self, request: health_pb2.HealthCheckRequest, context: ServicerContext
    ) -> None:
        """Send the present status of one name, and each later one, until the server ends."""
        sent: int | None = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status is None:
                status = Response.SERVICE_UNKNOWN
            if status != sent:
                sent = status
                await context.write(Response(status=status))
            if self._is_ended:
                return
            await changed.wait()

    async def _look(self) -> None:
        self.notify()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _status(self, name: str) -> int | None:
        if name == "":
            return Response.SERVING
        if name not in self._names:
            return None
        return Response.SERVING if self._health.report().is_ready else Response.NOT_SERVING
