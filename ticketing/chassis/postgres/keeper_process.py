"""Start a keeper and collect its error."""

import os
import subprocess
import sys
import threading

from ticketing.chassis.postgres.layout import NO_SYNC, Layout


class KeeperProcess:
    """A keeper that this process has started; it ends by itself where another keeper runs, and outlives this process."""

    def __init__(self, layout: Layout, *, fsync_initdb: bool) -> None:
        self._log = layout.log
        # The message of a keeper that failed. A killed keeper has none: it is replaced.
        self.error = ""
        command = [sys.executable, "-m", "ticketing.chassis.postgres.keeper", str(layout.root)]
        with os.fdopen(os.open(layout.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is our own
                command if fsync_initdb else [*command, NO_SYNC],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._waiter = threading.Thread(target=self._wait, name="keeper-wait", daemon=True)
        self._waiter.start()

    def is_running(self) -> bool:
        """Return whether the keeper runs; once it has ended, `error` is complete."""
        return self._waiter.is_alive()

    def _wait(self) -> None:
        output, _ = self._process.communicate()
        if self._process.returncode > 0:
            failed = f"the keeper of the embedded PostgreSQL failed; see {self._log}"
            self.error = output.decode(errors="replace") or failed
