"""Draw the boards of deploy/grafana with data of running services: `make boards`.

Both services, the relay and a real Prometheus run, a sale and its doors load them for some minutes, and each panel is drawn
from its own query. The Debian package `prometheus` contains the server.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from dev.board_load import running_load, running_webhook
from dev.board_pictures import Series, draw_board
from dev.clients import free_ports, running_services
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly

ROOT: Final = Path(__file__).parents[1]
BOARDS: Final = ROOT / "deploy" / "grafana" / "boards"
PICTURES: Final = ROOT / "docs" / "pictures"
SCRAPE_SECONDS: Final = 3
STEP_SECONDS: Final = 5
RATE_SECONDS: Final = 15
PORTS: Final = {
    "ticket_service": "TICKETS_METRICS_PORT",
    "scan_service": "SCANS_METRICS_PORT",
    "relay": "TICKETS_RELAY_METRICS_PORT",
}


class EmptyPanelError(Exception):
    """A panel has no data."""


@contextlib.contextmanager
def running_prometheus(ports: Mapping[str, int]) -> Iterator[httpx.Client]:
    """Run Prometheus on the programs at these ports, by job; yield a client of its API."""
    [port] = free_ports(1)
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]} for job, target in ports.items()
    ]
    times = {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"}
    rules = [str(ROOT / "deploy" / "prometheus" / "rules.yml")]
    with tempfile.TemporaryDirectory(prefix="ticketing-boards-") as folder:
        configuration = Path(folder) / "prometheus.yml"
        # JSON is YAML.
        configuration.write_text(json.dumps({"global": times, "rule_files": rules, "scrape_configs": jobs}))
        command = [
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
        with subprocess.Popen(command) as server, httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
            try:
                yield client
            finally:
                server.terminate()


def read_panel(client: httpx.Client, panel: Mapping[str, Any], begin: float, end: float) -> list[Series]:
    """Ask the queries of a panel; return its series, ordered by name."""
    found = []
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in (
            ("$__rate_interval", f"{RATE_SECONDS}s"),
            ("$__range", f"{end - begin:.0f}s"),
            ("$job", ".*"),
            ("$instance", ".*"),
        ):
            query = query.replace(name, value)
        if target.get("instant"):
            answer = client.get("/query", params={"query": query, "time": end})
        else:
            times = {"start": begin, "end": end, "step": STEP_SECONDS}
            answer = client.get("/query_range", params={"query": query, **times})
        answer.raise_for_status()
        for result in answer.json()["data"]["result"]:
            points = [(float(at), float(value)) for at, value in result.get("values", [result.get("value")])]
            # NaN: no quantile without a call.
            points = [(at, value) for at, value in points if value == value]  # noqa: PLR0124 - NaN differs from itself
            if points:
                found.append(Series(_name(target["legendFormat"], result["metric"]), points))
    return sorted(found, key=lambda series: series.name)


def _name(legend: str, labels: Mapping[str, str]) -> str:
    # A label without a value is missing in the answer.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def firing(client: httpx.Client) -> list[str]:
    """Return the names of the alerts that fire."""
    answer = client.get("/query", params={"query": 'count by (alertname) (ALERTS{alertstate="firing"})'})
    return sorted(result["metric"]["alertname"] for result in answer.json()["data"]["result"])


def draw(client: httpx.Client, file: Path, begin: float, end: float) -> None:
    """Draw one board into docs/pictures.

    Raises:
        EmptyPanelError: a panel has no data.
    """
    board = json.loads(file.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    data: dict[int, Sequence[Series]] = {panel["id"]: read_panel(client, panel, begin, end) for panel in panels}
    if empty := [panel["title"] for panel in panels if not data[panel["id"]]]:
        raise EmptyPanelError(f"{file.stem}: {', '.join(empty)}")
    picture = PICTURES / f"board-{file.stem}.svg"
    picture.write_text(draw_board(board, data))
    print(f"{picture.relative_to(ROOT)}: {len(panels)} panels, {picture.stat().st_size:,} bytes")


def main() -> int:
    """Run the load and draw both boards; return 1 if a panel has no data or a program is missing."""
    parser = Parser(prog="python -m dev.boards", description="Draw the boards of deploy/grafana with real data.")
    parser.add_argument("--seconds", type=float, default=240, help="the time of the load")
    seconds = parser.parse_args().seconds
    if shutil.which("prometheus") is None:
        print("prometheus is missing: install the Debian package `prometheus`", file=sys.stderr)
        return 1
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    with running_webhook() as webhook:
        settings = {
            **{variable: str(ports[job]) for job, variable in PORTS.items()},
            "TICKETS_WEBHOOK_URL": webhook,
            "TICKETS_WEBHOOK_SECRET": "whsec_Ym9hcmRzLW9mLXRoZS1kZXZlbG9wZXItMDEyMzQ1Ng==",
            "TICKETS_WEBHOOK_MAX_PARALLEL": "4",
            "TICKETS_DELIVERY_ATTEMPTS": "4",
            "TICKETS_HOLD_SECONDS": "30",
        }
        with running_services(**settings) as services, running_prometheus(ports) as client:
            begin = time.time()
            with running_load(services):
                time.sleep(seconds)
                end = time.time()
                # While the load runs: afterwards, queues are empty and gates gone.
                for file in sorted(BOARDS.glob("*.json")):
                    draw(client, file, begin + 2 * RATE_SECONDS, end)
                print(f"alerts that fire: {', '.join(firing(client)) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
