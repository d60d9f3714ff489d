"""`make demo` and `make up` as processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from dev.clients import Services, free_ports
from dev.demo import PICTURE, run_main_path
from dev.keys import development_keys
from dev.transcript import Transcript
from dev.up import StoppedError, only_program
from tests.environment import ROOT
from tests.environment.qr_codes import read_qr_codes
from ticketing.chassis.probe import is_serving
from ticketing.tickets.v1 import event_service_pb2

pytestmark = pytest.mark.slow


def variables(data_dir: Path) -> dict[str, str]:
    """Return the environment of `make up` on free ports."""
    tickets, scans = free_ports(2)
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}",
        "TICKETING_DATA_DIR": str(data_dir),
        "TICKETS_PORT": str(tickets),
        "SCANS_PORT": str(scans),
        "TICKETS_METRICS_PORT": "0",
        "TICKETS_RELAY_METRICS_PORT": "0",
        "SCANS_METRICS_PORT": "0",
    }


def processes(directory: Path) -> list[psutil.Process]:
    """Return the processes whose command line contains `directory`."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.info["cmdline"] and str(directory) in " ".join(process.info["cmdline"])
    ]


def run(module: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_demo_leaves_a_readable_code_and_no_process(tmp_path: Path) -> None:
    result = run("dev.demo", tmp_path, {**variables(tmp_path), "TMPDIR": str(tmp_path)})
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ADMITTED" in result.stdout
    assert "DENIED ALREADY_CHECKED_IN, at North 3" in result.stdout
    assert "refund 20.00 EUR (80 %)" in result.stdout
    assert "DENIED REFUNDED" in result.stdout
    [token] = read_qr_codes((tmp_path / PICTURE).read_bytes())
    assert token.startswith("T1")
    assert len(token) == 172
    assert processes(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == [PICTURE.name]


def start_up(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dev.up"]
    pipe = subprocess.PIPE
    up = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)
    assert up.stdout is not None
    line = up.stdout.readline()
    assert f"127.0.0.1:{environment['TICKETS_PORT']}" in line
    assert f"127.0.0.1:{environment['SCANS_PORT']}" in line
    return up


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_every_process_that_it_started(tmp_path: Path, number: int) -> None:
    up = start_up(variables(tmp_path))
    assert len(psutil.Process(up.pid).children()) == 3
    up.send_signal(number)
    _, log = up.communicate(timeout=30)
    assert up.returncode == 0
    assert processes(tmp_path) == []
    names = {name.strip() for name, _, line in (line.partition(" | ") for line in log.splitlines()) if line[:1] == "{"}
    assert names == {"ticket service", "scan service", "relay"}


def test_two_programs_do_not_start_the_same_services(tmp_path: Path) -> None:
    environment = variables(tmp_path)
    with only_program(environment):
        with pytest.raises(StoppedError, match="another `make up` runs"), only_program(environment):
            pass
        with only_program({**environment, "TICKETS_PORT": "1"}):
            pass
    with only_program(environment):
        pass


def test_up_ends_when_the_relay_ends(tmp_path: Path) -> None:
    up = start_up(variables(tmp_path))
    [relay] = [child for child in psutil.Process(up.pid).children() if child.cmdline()[-1] == "relay"]
    relay.kill()
    _, log = up.communicate(timeout=30)
    assert up.returncode == 1
    assert "up: the relay ended with exit status -9" in log
    assert processes(tmp_path) == []


def test_stored_events_survive_a_kill_of_all_processes(tmp_path: Path) -> None:
    environment = variables(tmp_path)
    up = start_up(environment)
    keys = development_keys(tmp_path)

    @contextmanager
    def connected() -> Iterator[Services]:
        with (
            grpc.insecure_channel(f"127.0.0.1:{environment['TICKETS_PORT']}") as tickets,
            grpc.insecure_channel(f"127.0.0.1:{environment['SCANS_PORT']}") as scans,
        ):
            yield Services(tickets, scans, keys)

    def event_count() -> int:
        with connected() as services:
            organizer = services.client("organizer", "alice")
            return len(organizer.ask(organizer.events.ListEvents, event_service_pb2.ListEventsRequest()).events)

    with connected() as services:
        run_main_path(Transcript(colours=False), services)
    assert event_count() == 1

    victims = [up, *psutil.Process(up.pid).children(recursive=True), *processes(tmp_path)]
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    up.communicate(timeout=30)
    psutil.wait_procs(processes(tmp_path), timeout=30)

    up = start_up(environment)
    assert event_count() == 1
    up.terminate()
    up.communicate(timeout=30)
    assert processes(tmp_path) == []


def test_services_end_when_up_is_killed(tmp_path: Path) -> None:
    environment = variables(tmp_path)
    up = start_up(environment)
    children = psutil.Process(up.pid).children()
    assert len(children) == 3
    up.kill()
    up.communicate(timeout=30)
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (3, [])
    assert not is_serving(f"127.0.0.1:{environment['TICKETS_PORT']}", seconds=0.2)


def test_a_second_up_names_the_ports_in_use(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = variables(tmp_path)
    up = start_up(environment)
    second = run("dev.up", ROOT, {**environment, "TICKETING_DATA_DIR": str(tmp_path_factory.mktemp("other"))})
    up.terminate()
    up.communicate(timeout=30)
    assert second.returncode == 1
    # The services of the first answer on these ports, so the second must not call them its own.
    assert second.stdout == ""
    assert f"up: another program has port {environment['TICKETS_PORT']}; end it, or set TICKETS_PORT" in second.stderr
