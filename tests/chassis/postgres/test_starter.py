import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ticketing.chassis.postgres import starter
from ticketing.chassis.postgres.launcher import Launcher
from ticketing.chassis.postgres.starter import CANNOT_RUN


def run(tmp_path: Path, *command: str) -> tuple[int, str]:
    """Return the status and the output of a program that a launcher starts."""
    with (tmp_path / "lock").open("wb") as lock:
        launcher = Launcher(tmp_path, lock.fileno())
        process = launcher.start([*command], folder=tmp_path, output=subprocess.PIPE, death_signal=signal.SIGKILL)
        output, _ = process.communicate(timeout=20)
    return process.returncode, output.decode()


def test_a_program_is_started_without_a_fork_of_the_process_with_its_threads(tmp_path):
    # gRPC's handlers of fork() started threads in the copy, which broke or ended the program 7 times in 300 starts.
    forks: list[str] = []
    os.register_at_fork(before=lambda: forks.append("fork"))
    assert run(tmp_path, "true") == (0, "")
    assert forks == []


def test_a_program_has_the_usual_signals(tmp_path):
    # Python ignores SIGPIPE (13) and SIGXFSZ (25).
    _, status = run(tmp_path, "cat", "/proc/self/status")
    [ignored] = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:")]
    assert int(ignored, 16) & (1 << 12 | 1 << 24) == 0


def test_a_missing_program_is_named(tmp_path):
    assert run(tmp_path, "/nonexistent/initdb") == (CANNOT_RUN, "/nonexistent/initdb: No such file or directory\n")


@pytest.mark.parametrize("has_parent", [True, False])
def test_only_a_program_whose_parent_lives_starts(has_parent):
    parent = str(os.getpid() if has_parent else 1)
    command = [sys.executable, "-I", "-S", starter.__file__, parent, "9", "", "", "echo", "started"]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (process.returncode, process.stdout) == ((0, "started\n") if has_parent else (CANNOT_RUN, ""))
