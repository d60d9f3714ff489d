"""Replay known faults: `python -m tests.faults.replays [NAME…]` finds each on the commit before it was mended.

Each replay runs its scenario twice: with the services of the old commit, where the checks must report the violation,
and with the present services, where they must report nothing. It needs the history of the project.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

# gRPC reads it when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from tests.environment import ROOT
from tests.environment.checkouts import NoHistoryError, check_out
from tests.faults.known_faults import REPLAYS, Replay
from tests.faults.site import new_site
from tests.faults.stage import Stage

NOT_FOUND, NO_HISTORY = 1, 2
# The file that starts a service with shorter pauses and a clock of its own; older commits lack it.
PROGRAM: Final = Path("tests") / "faults" / "program.py"
SEED: Final = 1


def row(replay: Replay) -> str:
    """Return the row of a replay in the table of docs/reliability.md."""
    return f"| {replay.fault} | {replay.area} | `{replay.before}` | `{replay.name}` | {replay.violation.strip(':, ')} |"


def play(replay: Replay, code: Path, seed: int) -> list[str]:
    """Run a scenario with the services of a checkout; return the violations."""
    folder = Path(tempfile.mkdtemp(prefix="ticketing-replay-"))
    try:
        with new_site(folder, code=code, processes=1) as site, ExitStack() as stack:
            stage = Stage(site, folder, stack, seed)
            try:
                replay.act(stage)
                stage.check()
            except Exception as error:  # noqa: BLE001 - the outcome of this replay; the others run
                traceback.print_exc()
                stage.violations.append(f"the scenario failed: {error!r}")
            if stage.violations and "TORTURE_LOGS" in os.environ:
                for slot in site.slots.values():
                    print(f"--- {slot.name}\n{slot.log}", file=sys.stderr)
            return stage.violations
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play_before(replay: Replay, seed: int) -> list[str]:
    """Run a scenario with the services of the commit before the fault was mended."""
    with tempfile.TemporaryDirectory(prefix="ticketing-code-") as name:
        code = Path(name)
        check_out(replay.before, code)
        (code / PROGRAM).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / PROGRAM, code / PROGRAM)
        return play(replay, code, seed)


def is_found(replay: Replay, seed: int, only: str) -> bool:
    """Run a replay, print its outcome, and return whether the fault is in the old services alone."""
    begin = time.monotonic()
    good = True
    if only != "present":
        violations = play_before(replay, seed)
        old = [one for one in violations if replay.violation in one]
        good &= bool(old)
        print(f"{replay.name}: {'found' if old else 'NOT FOUND'} before the fix ({replay.before}), seed {seed}")
        print("".join(f"    {one}\n" for one in old[:1] or violations), end="")
    if only != "old":
        present = play(replay, ROOT, seed)
        good &= not present
        print(f"{replay.name}: {'PRESENT' if present else 'absent'} in the present code, seed {seed}")
        print("".join(f"    {one}\n" for one in present), end="")
    print(f"    {time.monotonic() - begin:.0f} s", flush=True)
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the replays; return 0 if each fault was found in the old services and in them alone."""
    names = [one.name for one in REPLAYS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults.replays", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"some of {', '.join(names)} (default: all)")
    parser.add_argument("--seed", type=int, default=SEED, help="the seed of each scenario (default: %(default)s)")
    parser.add_argument("--only", default="", choices=["old", "present"], help="run one of both versions only")
    parser.add_argument("--table", action="store_true", help="print the table of the documentation")
    given = parser.parse_args(arguments)
    if given.table:
        print("\n".join(row(one) for one in REPLAYS))
        return 0
    if unknown := set(given.names) - set(names):
        parser.error(f"unknown replays: {', '.join(sorted(unknown))}")
    chosen = [one for one in REPLAYS if one.name in (given.names or names)]
    try:
        failed = [one.name for one in chosen if not is_found(one, given.seed, given.only)]
    except NoHistoryError as missing:
        print(f"the replays need the history of the project: {missing}", file=sys.stderr)
        return NO_HISTORY
    print(f"{len(chosen)} replays; failed: {', '.join(failed) or 'none'}")
    return NOT_FOUND if failed else 0


if __name__ == "__main__":
    sys.exit(main())
