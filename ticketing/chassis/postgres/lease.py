"""A lease on the embedded server, which a service has while it uses the server.

A lease is a shared lock of the kernel, so it ends with its process, however that ends. While a lease exists, a thread
watches the keeper and replaces it, on the same port, if it is killed.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.postgres import database, locks
from ticketing.chassis.postgres.errors import EmbeddedPostgresError
from ticketing.chassis.postgres.layout import NO_SYNC, USER, Layout, prepare

_logger = logging.getLogger(__name__)

# A keeper that has begun to stop its server blocks new leases until the server has stopped.
_LEASE_SECONDS = 60
_SERVER_SECONDS = 180
_STOP_SECONDS = 5
_POLL_SECONDS = 0.05
_WATCH_SECONDS = 0.2
_MAX_WATCH_SECONDS = 10.0


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


class Lease:
    """A claim on the server in `data_dir`, which runs at least as long as the claim exists.

    Without `fsync_initdb` a new cluster is not forced to disk, which makes tests faster.
    """

    def __init__(self, data_dir: Path, fsync_initdb: bool = True) -> None:  # noqa: FBT001, FBT002 - passed by name
        self._layout = Layout(data_dir.absolute() / "postgres")
        self._fsync_initdb = fsync_initdb
        self._lock: int | None = None
        self._port: int | None = None
        self._keeper: KeeperProcess | None = None
        self._starting = threading.Lock()
        self._released = threading.Event()
        self._watcher: threading.Thread | None = None

    def acquire(self) -> Self:
        """Take the lease and wait until the server answers.

        Raises:
            EmbeddedPostgresError: no server can run here; the message names the cause.
        """
        if self._lock is not None:
            raise RuntimeError("the lease is already acquired")
        with self._explained():
            prepare(self._layout)
            self._lock = locks.take(self._layout.lease_lock, locks.SHARED, _LEASE_SECONDS)
            if self._lock is None:
                raise EmbeddedPostgresError(
                    f"the server in {self._layout.root} has been stopping for {_LEASE_SECONDS} s; see {self._layout.log}"
                )
            self._released.clear()
            try:
                self._port, _ = self._reach(database.MAINTENANCE)
                self._watcher = threading.Thread(target=self._watch, name="keeper-watch", daemon=True)
                self._watcher.start()
            except BaseException:
                os.close(self._lock)
                self._lock = None
                raise
        return self

    def release(self) -> None:
        """Release the lease, if it is acquired; after the last lease, wait until the server has stopped."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        self._released.set()
        if self._watcher is not None:
            self._watcher.join()
        was_last = locks.change(lock, locks.EXCLUSIVE)
        os.close(lock)
        deadline = time.monotonic() + _STOP_SECONDS
        while was_last and time.monotonic() < deadline and self._is_served():
            time.sleep(_POLL_SECONDS)

    def url(self, name: str) -> str:
        """Return the SQLAlchemy URL of the database `name`, which is created if it is missing.

        Raises:
            EmbeddedPostgresError: the server does not answer.
        """
        if self._lock is None:
            raise RuntimeError("the lease is not acquired")
        with self._explained():
            port, password = self._reach(name)
        return f"postgresql+psycopg2://{USER}:{password}@{database.HOST}:{port}/{name}"

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EmbeddedPostgresError(f"cannot use the data directory {self._layout.root.parent}: {error}") from error

    def _reach(self, name: str) -> tuple[int, str]:
        """Wait for a server with the database `name`, starting one if necessary; return its port and password."""
        deadline = time.monotonic() + _SERVER_SECONDS
        reason = "it has not been ready"
        while time.monotonic() < deadline and not self._released.is_set():
            self._ensure_keeper()
            port = self._layout.read_port()
            if port is not None:
                # The port may be that of a server that has ended: only an answer to the password proves the server.
                password = self._layout.password_file.read_text()
                try:
                    database.ensure(port, password, name)
                except database.NotReachableError as error:
                    reason = str(error)
                else:
                    return port, password
            time.sleep(_POLL_SECONDS)
        raise EmbeddedPostgresError(
            f"the server in {self._layout.root} could not be reached for {_SERVER_SECONDS} s: {reason}; "
            f"see {self._layout.log}"
        )

    def _ensure_keeper(self) -> None:
        """Start a keeper if no keeper and no process of a server runs; raise the error of a keeper that failed."""
        with self._starting:
            if self._keeper is not None and self._keeper.is_running():
                return
            failed, self._keeper = self._keeper, None
            if failed is not None and failed.error:
                raise EmbeddedPostgresError(failed.error)
            if not self._is_served():
                self._keeper = KeeperProcess(self._layout, fsync_initdb=self._fsync_initdb)

    def _is_served(self) -> bool:
        """Return whether a keeper or a process of its server runs."""
        return locks.is_exclusive(self._layout.server_lock)

    def _watch(self) -> None:
        """Replace a killed keeper until the lease is released.

        The attempts never end, because a full disk can be cleared at any time, and then the service should recover. The
        pause between them grows and is random, so that services do not retry in step.
        """
        failures = 0
        pause = _WATCH_SECONDS
        while not self._released.wait(pause):
            try:
                if not self._is_served():
                    port, _ = self._reach(database.MAINTENANCE)
                    self._log_restart(port)
            except (EmbeddedPostgresError, OSError) as error:
                if self._released.is_set():
                    return
                _logger.error("the embedded PostgreSQL cannot be restarted: %s", error)  # noqa: TRY400 - no trace needed
                failures += 1
                pause = _WATCH_SECONDS + backoff_seconds(failures, first=_WATCH_SECONDS, max_seconds=_MAX_WATCH_SECONDS)
            else:
                failures, pause = 0, _WATCH_SECONDS

    def _log_restart(self, port: int) -> None:
        if port == self._port:
            _logger.warning("the embedded PostgreSQL was restarted on port %s", port)
        else:
            _logger.error(
                "the embedded PostgreSQL lost its port %s to another program and is now on %s: restart this service",
                self._port,
                port,
            )
