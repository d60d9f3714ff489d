"""A process with a lease: it prints the URL of the database and ends with its standard input, or on Ctrl-C.

    python lease_process.py DATA_DIR DATABASE [--child]

With --child it first starts a child process, which continues when this process is killed.
"""

import subprocess
import sys
from pathlib import Path

from ticketing.chassis.postgres import EmbeddedPostgresError, Lease


def main(data_dir: str, database: str, *options: str) -> int:
    try:
        with Lease(Path(data_dir), fsync_initdb=False) as server:
            if "--child" in options:
                subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
            sys.stdout.write(server.url(database) + "\n")
            sys.stdout.flush()
            sys.stdin.read()
    except EmbeddedPostgresError as error:
        sys.stdout.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
