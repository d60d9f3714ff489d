"""Torture the services: `python -m tests.faults --seconds 60 SEED…`, or `--first 1 --count 10` for ten seeds."""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

# gRPC reads it when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from deploy.patroni.cluster import missing_packages
from tests.faults.database import ALONE, KINDS, PATRONI
from tests.faults.guards import GUARDS
from tests.faults.result import Result, show, words
from tests.faults.torture import Torture


def main() -> int:
    """Run the seeds one after the other; return 1 where one found a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("seeds", metavar="SEED", type=int, nargs="*", help="the seeds of the runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed, where none is named")
    parser.add_argument("--count", type=int, default=1, help="the number of seeds, where none is named")
    parser.add_argument("--seconds", type=float, default=60, help="the duration of the load (default: %(default)s)")
    parser.add_argument("--without", default="", choices=GUARDS, help="the guard that the system lacks")
    parser.add_argument("--servers", default=ALONE, choices=KINDS, help="the database servers (default: %(default)s)")
    parser.add_argument("--only", default="", help="the kinds of faults, separated by commas")
    parser.add_argument("--calm", action="store_true", help="inject no fault")
    parser.add_argument("--keep", action="store_true", help="keep the record and the logs of a run with violations")
    given = parser.parse_args()
    if given.servers == PATRONI and (missing := missing_packages()):
        parser.error(f"the cluster needs the Debian packages {', '.join(missing)}")
    only = [fault for fault in given.only.split(",") if fault]
    failed, total, seconds = list[int](), Result(0), 0.0
    for seed in given.seeds or range(given.first, given.first + given.count):
        folder = Path(tempfile.mkdtemp(prefix="ticketing-torture-"))
        begin = time.monotonic()
        torture = Torture(
            folder, seed, given.seconds, without=given.without, calm=given.calm, only=only, servers=given.servers
        )
        try:
            result = torture.run()
        except Exception:  # noqa: BLE001 - the other seeds run
            traceback.print_exc()
            result = torture.result
            result.violations.append("the run failed")
        finally:
            keeps = given.keep and bool(torture.result.violations)
            if not keeps:
                shutil.rmtree(folder, ignore_errors=True)
        seconds += given.seconds
        show(result, time.monotonic() - begin, folder if keeps else None)
        failed += [seed] if result.violations else []
        for name in ("answered", "unanswered", "injected", "effects", "causes", "errors"):
            getattr(total, name).update(getattr(result, name))
        total.linearized += result.linearized
    print(
        f"\n{seconds:.0f} s of load, {total.answered.total()} operations answered, {total.unanswered.total()} unanswered,"
        f" {total.linearized} tickets linearized; failed: {failed or 'none'}"
    )
    print(f"faults: {words(total.injected)}")
    print(f"database servers: {words(total.effects)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
