"""The processes of a PostgreSQL server of this machine, which a test stops and continues."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.engine import URL

from tests.environment.databases import read_value


@contextmanager
def stopped(url: URL) -> Iterator[None]:
    """Stop all processes of a server: it accepts connections, as its machine does, and answers nothing."""
    data_dir = Path(read_value(url, "SHOW data_directory"))
    postmaster = int((data_dir / "postmaster.pid").read_text().split()[0])
    # The postmaster first: it starts no more processes.
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    pids = [postmaster, *map(int, children)]
    for pid in pids[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            # A client that gave up has ended its process.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
