"""Starts a keeper and hears its report; what the two say to each other stands here."""

import os
import select
import subprocess
import sys
import threading
import time

from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.layout import Layout

READY = "ready"
NO_SYNC = "--no-sync"

_REPORT_SECONDS = 300  # The keeper bounds each of its steps; this is for one that was stopped or hangs on a disk.
_END_SECONDS = 10


def start_keeper(layout: Layout, *, fsync_initdb: bool) -> None:
    """Start a keeper and wait until its server is ready; it gives way if there is another keeper.

    Also returns if the keeper was told to end before it could report: whoever needs the server looks again.

    Raises:
        EmbeddedPostgresError: What the keeper reported, or that it failed without a word.
    """
    command = [sys.executable, "-m", "ticketing.chassis.postgres.keeper", str(layout.root)]
    with os.fdopen(os.open(layout.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
        process = subprocess.Popen(  # noqa: S603  the command is ours
            command if fsync_initdb else [*command, NO_SYNC],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    # The keeper outlives this call and perhaps this process; if not, somebody has to take note of its end.
    threading.Thread(target=process.wait, name="keeper-reaper", daemon=True).start()
    report = _read_report(process)
    if not report and process.wait(_END_SECONDS) > 0:
        raise EmbeddedPostgresError(f"the keeper of the embedded PostgreSQL failed; see {layout.log}")
    if report not in {READY, ""}:
        raise EmbeddedPostgresError(report)


def _read_report(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None  # noqa: S101  for mypy: stdout=PIPE
    deadline = time.monotonic() + _REPORT_SECONDS
    report = b""
    with process.stdout as pipe:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while poll.poll(max(0, deadline - time.monotonic()) * 1000):
            part = os.read(pipe.fileno(), 65_536)
            if not part:
                return report.decode(errors="replace")
            report += part
    raise EmbeddedPostgresError(
        f"the keeper of the embedded PostgreSQL (process {process.pid}) did not report in {_REPORT_SECONDS} s: "
        "end that process, then start again."
    )
