"""The program of the database servers of a run: `python -m tests.faults.servers KIND FOLDER`.

A server ends with the thread that started it, so that thread is all of a program. Each line on its standard input is an
order in JSON; it answers with a line.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from tests.faults.alone import Alone
from tests.faults.database import ALONE, STANDBY
from tests.faults.standby import WithStandby


class Servers(Protocol):
    """Database servers with the databases of both services; each fault is a method by its name."""

    user: str
    password: str
    ports: list[int]

    def checkpoint(self, target: float, seconds: float) -> None: ...

    def effects(self, target: float, seconds: float) -> dict[str, int]: ...


def serve(servers: Servers) -> None:
    """Follow the orders until the standard input ends."""
    print(json.dumps({"ports": servers.ports, "user": servers.user, "password": servers.password}), flush=True)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        method = getattr(servers, order["fault"].replace(" ", "_"))
        try:
            answer = method(order["target"], order["seconds"])
        except Exception as error:  # noqa: BLE001 - the run reports it
            answer = f"{order['fault']}: {error!r}"
        print(json.dumps(answer), flush=True)


def run(kind: str, folder: Path) -> None:
    """Run servers of a kind."""
    with ExitStack() as stack:
        lock = stack.enter_context((folder / "lock").open("wb"))
        own = Alone(folder, lock) if kind == ALONE else WithStandby(folder, lock, is_synchronous=kind == STANDBY)
        stack.callback(own.close)
        serve(own)


if __name__ == "__main__":
    try:
        run(sys.argv[1], Path(sys.argv[2]))
    except KeyboardInterrupt:
        # Ctrl-C ends the run, and the servers with it.
        sys.exit(130)
