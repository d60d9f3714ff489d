"""A lease: what a service holds while it uses the embedded server.

A lease is a shared lock of the kernel's, so it ends with its process, however that ends. While it is held, a thread
watches the keeper and starts a new one, on the same port, should it be killed.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ticketing.chassis.backoff import backoff_seconds
from ticketing.chassis.postgres import database, locks
from ticketing.chassis.postgres.errors import EmbeddedPostgresError, with_advice
from ticketing.chassis.postgres.keeper_start import start_keeper
from ticketing.chassis.postgres.layout import USER, Layout, prepare

_logger = logging.getLogger(__name__)

_LEASE_SECONDS = 60  # A keeper that has begun to stop its server lets nobody in before it is done.
_SERVER_SECONDS = 180
_STOP_SECONDS = 5
_POLL_SECONDS = 0.05
_WATCH_SECONDS = 0.2
_WATCH_MAX_SECONDS = 10.0


@contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(with_advice(f"cannot use the data directory {data_dir}: {error}")) from error


class Lease:
    """A claim on the server in `data_dir`, which runs at least as long as the claim is held.

    Without `fsync_initdb` a new cluster is not forced to disk, which saves tests a moment.
    """

    def __init__(self, data_dir: Path, fsync_initdb: bool = True) -> None:  # noqa: FBT001, FBT002  reads well by name
        self._data_dir = data_dir
        self._fsync_initdb = fsync_initdb
        self._held: _Held | None = None

    def acquire(self) -> Self:
        """Take the lease and wait until the server answers.

        Raises:
            EmbeddedPostgresError: There can be no server; the message says why and what to do.
        """
        if self._held is not None:
            raise RuntimeError("the lease is held already")
        with _explained(self._data_dir):
            self._held = _Held(prepare(self._data_dir), fsync_initdb=self._fsync_initdb)
        return self

    def release(self) -> None:
        """Give the lease back; the last one out waits until the server has stopped. Harmless if it is not held."""
        held, self._held = self._held, None
        if held is not None:
            held.end()

    def url(self, name: str) -> str:
        """Return the SQLAlchemy URL of the database `name`, which is created if it is missing.

        Raises:
            ValueError: The name is not made of lower-case letters, digits and underscores.
            EmbeddedPostgresError: The server does not answer.
        """
        database.check_name(name)
        if self._held is None:
            raise RuntimeError("the lease is not held")
        with _explained(self._data_dir):
            port, password = self._held.reach(name)
        return f"postgresql+psycopg2://{USER}:{password}@{database.HOST}:{port}/{name}"

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class _Held:
    """A held lease: its lock, and the thread that watches the keeper."""

    def __init__(self, layout: Layout, *, fsync_initdb: bool) -> None:
        self._layout = layout
        self._fsync_initdb = fsync_initdb
        lock = locks.take(layout.lease_lock, locks.Mode.SHARED, _LEASE_SECONDS)
        if lock is None:
            raise EmbeddedPostgresError(
                f"the server in {layout.root} has been stopping for {_LEASE_SECONDS} s; see {layout.log}"
            )
        self._lock = lock
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="keeper-watch", daemon=True)
        try:
            self._port, _ = self.reach(database.MAINTENANCE)
            self._watcher.start()
        except BaseException:
            os.close(lock)
            raise

    def reach(self, name: str) -> tuple[int, str]:
        """Wait for a server with the database `name`, starting one if need be; return its port and password."""
        deadline = time.monotonic() + _SERVER_SECONDS
        reason = "it has not been ready"
        while time.monotonic() < deadline:
            self._ensure_keeper()
            port = self._layout.read_port()
            if port is not None:
                # The port may be that of a server that is gone: only an answer to our password counts.
                password = self._layout.read_password()
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

    def end(self) -> None:
        """Let go. Whoever was the last waits for the server to stop, so that nothing is left behind them."""
        self._ended.set()
        self._watcher.join()
        was_last = locks.change(self._lock, locks.Mode.EXCLUSIVE)
        os.close(self._lock)
        deadline = time.monotonic() + _STOP_SECONDS
        while was_last and time.monotonic() < deadline and locks.is_held_exclusively(self._layout.keeper_lock):
            time.sleep(_POLL_SECONDS)

    def _ensure_keeper(self) -> bool:
        """Start a keeper if there is none; True if there was none."""
        if locks.is_held_exclusively(self._layout.keeper_lock):
            return False
        start_keeper(self._layout, fsync_initdb=self._fsync_initdb)
        return True

    def _watch(self) -> None:
        """Replace a keeper that was killed, as long as the lease is held.

        There is no last attempt: a full disk can be cleared any time, and then the service should recover. The pause
        between attempts grows and is drawn at random, so that the services do not try in step.
        """
        failures = 0
        pause = _WATCH_SECONDS
        while not self._ended.wait(pause):
            try:
                if self._ensure_keeper():
                    self._tell_of_restart()
            except (EmbeddedPostgresError, OSError) as error:
                _logger.error("the embedded PostgreSQL cannot be restarted: %s", error)  # noqa: TRY400  it says it all
                failures += 1
                pause = _WATCH_SECONDS + backoff_seconds(failures, first=_WATCH_SECONDS, longest=_WATCH_MAX_SECONDS)
            else:
                failures = 0
                pause = _WATCH_SECONDS

    def _tell_of_restart(self) -> None:
        port = self._layout.read_port()
        if port == self._port:
            _logger.warning("the embedded PostgreSQL was restarted on port %s", port)
        else:
            _logger.error(
                "the embedded PostgreSQL lost its port %s to another program and is now on %s: restart this service",
                self._port,
                port,
            )
