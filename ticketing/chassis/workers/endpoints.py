"""The HTTP endpoints of the workers, as the supervisor reads them: metrics, liveness and readiness."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Final

from ticketing.chassis.health import HealthReport
from ticketing.chassis.workers.link import LOOPBACK
from ticketing.chassis.workers.supervisor import Worker

# A worker answers from threads of its own in milliseconds, unless its machine is exhausted.
READ_SECONDS: Final = 3.0


class WorkerEndpoints:
    """The endpoints of all workers of a supervisor; every method may be called from any thread."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers

    def expositions(self) -> Mapping[int, str | None]:
        """Return the metrics of each worker that serves, by its process id; None: no answer."""
        return {process_id: answer and answer[1] for process_id, answer in self._read("/metrics").items()}

    def report(self) -> HealthReport:
        """Return the health of the service: it is ready while one worker is, since one that has ended gets no calls."""
        not_ready: dict[str, str] = {}
        is_ready = False
        for process_id, answer in self._read("/readyz").items():
            if answer is None:
                not_ready[f"worker {process_id}"] = "does not answer"
                continue
            causes = json.loads(answer[1])["not_ready"]
            is_ready = is_ready or not causes
            not_ready |= {f"worker {process_id}: {name}": cause for name, cause in causes.items()}
        if is_ready:
            return HealthReport(is_alive=True, not_ready={}, warnings=not_ready)
        return HealthReport(is_alive=True, not_ready=not_ready or {"workers": "none serves"}, warnings={})

    def hanging(self) -> frozenset[int]:
        """Return the process ids of the workers that are not alive."""
        return frozenset(id_ for id_, answer in self._read("/livez").items() if answer is None or not answer[0])

    def _read(self, path: str) -> Mapping[int, tuple[bool, str] | None]:
        ports = {
            process_id: report.metrics_port
            for worker in self._workers
            if (report := worker.report) is not None and (process_id := worker.process_id) is not None
        }
        if not ports:
            return {}
        with ThreadPoolExecutor(len(ports)) as threads:
            return dict(zip(ports, threads.map(lambda port: _get(port, path), ports.values()), strict=True))


def _get(port: int, path: str) -> tuple[bool, str] | None:
    """Return whether the status is 200, and the body; None without an answer in time."""
    try:
        with closing(HTTPConnection(LOOPBACK, port, timeout=READ_SECONDS)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status == 200, answer.read().decode()  # noqa: PLR2004 - RFC 9110: OK
    except (OSError, HTTPException):
        return None
