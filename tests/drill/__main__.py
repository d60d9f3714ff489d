"""Drill restores: `python -m tests.drill SEED…`, or `python -m tests.drill --count 30`.

Each seed makes another history. Seeds restore the tickets database, the scans database, and both, in turn. With
`--promote` they lose the same commits by the promotion of a standby that lagged.
"""

import argparse
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

from tests.drill.drill import Drill
from tests.drill.promotion import PromotionDrill
from tests.environment.access import new_issuer
from tests.environment.databases import migrated_templates
from ticketing.chassis.postgres import Lease


def main() -> int:
    """Run the drills; return 1 where one found a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("seeds", metavar="SEED", type=int, nargs="*", help="the seeds of the histories")
    parser.add_argument("--count", type=int, default=3, help="the number of seeds from 0 on, where none is named")
    parser.add_argument(
        "--promote", action="store_true", help="promote standbys that lag, instead of restoring backups"
    )
    given = parser.parse_args()
    failed, operations, answers, found = list[int](), 0, 0, Counter[str]()
    drill_type = PromotionDrill if given.promote else Drill
    seeds = given.seeds or list(range(given.count))
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="ticketing-drill-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(Lease(folder / "postgres", fsync_initdb=False))
        template, issuer = migrated_templates(server), new_issuer(folder)
        for seed in seeds:
            start, own = monotonic(), folder / f"seed-{seed}"
            own.mkdir()
            drill = drill_type(template, issuer, own, seed)
            try:
                result = drill.run()
            except Exception:  # noqa: BLE001 - the other seeds run
                traceback.print_exc()
                failed.append(seed)
                continue
            print(
                f"seed {seed}: {'+'.join(result.restored)}, {result.operations} operations, {result.answers} answers,"
                f" {sum(result.found.values())} findings, {result.resent} scans sent again,"
                f" {result.given_back} given back, {len(result.violations)} violations, {monotonic() - start:.0f} s",
                flush=True,
            )
            for violation in result.violations:
                print(f"  {violation}", flush=True)
                for line in drill.explain(violation):
                    print(f"    {line}", flush=True)
            failed += [seed] if result.violations else []
            operations, answers = operations + result.operations, answers + result.answers
            found += result.found + Counter({"scans sent again": result.resent, "given back": result.given_back})
    print(f"{len(seeds)} histories, {operations} operations, {answers} answers; failed: {failed or 'none'}")
    for kind, count in sorted(found.items()):
        print(f"{count:>8} {kind}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
