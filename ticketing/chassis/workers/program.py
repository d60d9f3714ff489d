"""The program of a supervisor: it holds the port of the service, and serves the endpoints for all workers."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry

from ticketing.chassis.endpoints import Endpoints
from ticketing.chassis.server import stop_signal
from ticketing.chassis.service_settings import ServiceSettings
from ticketing.chassis.tasks import Tasks
from ticketing.chassis.workers.endpoints import WorkerEndpoints
from ticketing.chassis.workers.expositions import WorkerExpositions
from ticketing.chassis.workers.port import ReservedPort
from ticketing.chassis.workers.supervisor import RESTARTS, FailedStartError, Supervisor, Worker, WorkerPlan

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 5.0
# A worker that does not answer so many times in a row is killed: its connections would wait for it for ever.
MAX_MISSED_LOOKS: Final = 3


def run_workers(settings: ServiceSettings, variables: Mapping[str, str] = os.environ) -> int:
    """Run the workers of a service until a signal stops them; return the exit status of the service.

    Raises:
        OSError: a port is in use.
    """
    try:
        asyncio.run(_run(settings, variables))
    except FailedStartError as error:
        return error.status if error.status > 0 else 1
    return 0


async def _run(settings: ServiceSettings, variables: Mapping[str, str]) -> None:
    stop_requested = stop_signal()
    listen = settings.listen
    with ReservedPort(listen.host, listen.port) as reserved:
        plan = WorkerPlan(
            # The arguments with which this process was started, whatever they are.
            command=[sys.executable, *sys.orig_argv[1:]],
            environment={**variables, f"{settings.prefix}_PORT": str(reserved.port)},
            count=settings.workers,
            drain_seconds=listen.drain_delay_seconds + listen.drain_seconds,
        )
        supervisor = Supervisor(plan)
        workers = WorkerEndpoints(supervisor.workers)
        registry = CollectorRegistry()
        registry.register(WorkerExpositions(workers.expositions))
        registry.register(RESTARTS)
        endpoints = Endpoints(listen.host, settings.metrics_port, listen.tls, workers.report, registry)
        watch, tasks = HangingWorkers(supervisor.workers, workers.hanging), Tasks()
        tasks.new("workers", watch.look, LOOK_SECONDS).start()
        try:
            facts = {"port": reserved.port, "metrics_port": endpoints.port, "workers": plan.count}
            log.info("supervising", extra=facts)
            await supervisor.run(stop_requested)
        finally:
            await tasks.stop()
            await asyncio.to_thread(endpoints.close)


class HangingWorkers:
    """The background task that kills workers that hang, so that they start again."""

    def __init__(self, workers: Sequence[Worker], hanging: Callable[[], Collection[int]]) -> None:
        """Take `hanging`, which blocks and returns the process ids of the workers that do not answer."""
        self._workers = workers
        self._hanging = hanging
        # The number of looks in a row at which each process hung.
        self._missed: dict[int, int] = {}

    async def look(self) -> None:
        """Look once at every worker."""
        hanging = await asyncio.to_thread(self._hanging)
        self._missed = {process_id: self._missed.get(process_id, 0) + 1 for process_id in hanging}
        for worker in self._workers:
            if worker.process_id is not None and self._missed.get(worker.process_id, 0) >= MAX_MISSED_LOOKS:
                log.error("a worker hangs and is killed", extra={"worker": worker.number})
                worker.kill()
