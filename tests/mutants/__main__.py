"""Run mutation tests: `python -m tests.mutants ticket_service/domain/sales.py…`; without paths, of every domain."""

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

# gRPC reads it when it is imported: a trial is a child without the threads of its parent.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

from tests.environment import ROOT
from tests.mutants import covering
from tests.mutants.guards import GUARDS, Guard
from tests.mutants.mutations import Mutant, mutants_of
from tests.mutants.trial import Trials, fix_examples

PACKAGES: Final = ("ticket_service/domain", "scan_service/domain", "ticketing/admission")
# Tests without a database, and those that take longer.
PURE: Final = ("tests/ticket_service/domain", "tests/scan_service/domain", "tests/admission")
SLOW: Final = ("tests/ticket_service/use_cases", "tests/scan_service/use_cases")
TESTS: Final = {"fast": PURE, "slow": SLOW}
# A mutant that the fast tests do not notice is run against this many of the others.
MAX_SLOW_TESTS: Final = 8
# The score of a package below which a run fails.
MIN_PERCENT: Final = 90
FOLDER: Final = ROOT / ".mutants"
# The titles of the results of guards begin with it.
GUARDED: Final = "guards of "


def main() -> int:
    """Run the mutants that have no result yet; return 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("paths", nargs="*", help="modules and folders (default: every domain)")
    parser.add_argument("--record", choices=TESTS, help="record the lines that tests execute, and end")
    parser.add_argument(
        "--seconds", type=float, default=600, help="begin no mutant after this time (default: %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="run the mutants that survived once more")
    parser.add_argument("--guards", action="store_true", help="take the guards in the SQL of the stores away instead")
    parser.add_argument("--pure", action="store_true", help="run only tests without a database")
    parser.add_argument("--list", action="store_true", help="print the results so far, and end")
    given = parser.parse_args()
    if not given.guards and (missing := [path for path in given.paths if not (ROOT / path).exists()]):
        parser.error(f"there is no module or folder {', '.join(missing)}")
    FOLDER.mkdir(exist_ok=True)
    if given.record:
        # Coverage slows tests down beyond the deadlines of hypothesis.
        fix_examples()
        return covering.record(list(modules_in(PACKAGES)), TESTS[given.record], FOLDER / f"{given.record}.json")
    wanted = tuple(given.paths or [""])
    guarded = [GUARDED + guard.path for guard in GUARDS if guard.path.startswith(wanted)]
    titles = guarded if given.guards else modules_in(given.paths or PACKAGES)
    results = [Results(title) for title in dict.fromkeys(titles)]
    until = time.monotonic() + given.seconds
    with ExitStack() as stack:
        if given.guards and results and not given.list:
            run_guards(results, Trials(stack, with_database=True), given, until)
        elif not given.guards and not given.list:
            run_modules(results, Trials(stack, with_database=not given.pure), given, until)
    return report(results)


def modules_in(paths: Sequence[str]) -> Iterator[str]:
    """Yield the paths of the modules in some folders, from the root of the project."""
    for path in paths:
        found = sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
        yield from (str(file.relative_to(ROOT)) for file in found)


class Results:
    """The results of some mutants by name, in a file: a later run continues. "": every test passed."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._file = FOLDER / "results" / f"{title.replace('/', '-')}.json"
        self.by_name: dict[str, str] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def save(self) -> None:
        """Write the file."""
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_text(json.dumps(self.by_name, indent=1))

    def is_wanted(self, name: str, *, again: bool) -> bool:
        """Return whether a mutant has no result, or with `again` survived."""
        return name not in self.by_name or (again and self.by_name[name] == "")

    def name(self, mutants: Iterable[Mutant]) -> list[tuple[str, Mutant]]:
        """Name mutants by their change, which a moved line keeps; forget the results of those that no longer exist."""
        known = {name.rpartition(" line ")[0]: result for name, result in self.by_name.items()}
        counts = Counter[str]()
        named = list[tuple[str, Mutant]]()
        self.by_name = {}
        for mutant in mutants:
            counts[mutant.change] += 1
            key = f"{mutant.change}\n{mutant.path}#{counts[mutant.change]}"
            named.append((f"{key} line {mutant.line}", mutant))
            if key in known:
                self.by_name[named[-1][0]] = known[key]
        return named


def run_guards(modules: Sequence[Results], trials: Trials, given: argparse.Namespace, until: float) -> None:
    """Run the guards of modules."""
    paths = [module.title.removeprefix(GUARDED) for module in modules]
    guards = [guard for guard in GUARDS if guard.path in paths]

    def work() -> None:
        for module, path in zip(modules, paths, strict=True):
            own = [guard for guard in guards if guard.path == path]
            for (name, mutant), guard in zip(module.name(guard.mutant() for guard in own), own, strict=True):
                if module.is_wanted(name, again=given.again) and time.monotonic() < until:
                    module.by_name[name] = first_failure(mutant, guard, trials)
                    module.save()
                    print(f"{mutant.path}:{mutant.line} {module.by_name[name] or 'SURVIVED'}", flush=True)

    trials.within(sorted({test for guard in guards for test in guard.test_paths()}), work)


def first_failure(mutant: Mutant, guard: Guard, trials: Trials) -> str:
    """Run the tests of a guard, one file or folder after the other; return the first that fails, or ""."""
    for path in guard.test_paths():
        failed = trials.run(mutant.path, mutant.source, [test for test in trials.collected if test.startswith(path)])
        if failed:
            return failed
    return ""


def run_modules(modules: Sequence[Results], trials: Trials, given: argparse.Namespace, until: float) -> None:
    """Run the mutants of modules."""
    covered = covering.load(sorted(FOLDER.glob("*.json")))

    def work() -> None:
        for module in modules:
            if time.monotonic() < until:
                run_module(module, trials, covered, again=given.again, until=until)

    folders = PURE if given.pure else (*PURE, *SLOW)
    covering_tests = {test for module in modules for test in covered.tests_of(module.title, 0, 0)}
    files = {test.partition("::")[0] for test in covering_tests if test.startswith(folders)}
    trials.within(sorted(file for file in files if (ROOT / file).exists()) or [*PURE], work)


def run_module(module: Results, trials: Trials, covered: covering.Covering, *, again: bool, until: float) -> None:
    """Run the mutants of one module: first the tests without a database, then some of the others."""
    source = (ROOT / module.title).read_text()
    collected = trials.collected
    its_file = f"/test_{Path(module.title).stem}.py::"
    own = [test for test in covered.tests_of(module.title, 0, 0) if test.startswith(PURE) and test in collected]
    if own and (failed := trials.run(module.title, source, own)):
        sys.exit(f"{module.title}: {failed} fails without a mutant")
    for name, mutant in module.name(mutants_of(module.title, source)):
        if not module.is_wanted(name, again=again) or time.monotonic() > until:
            continue
        span = mutant.line, mutant.last_line
        is_only_loaded = covered.is_only_loaded(module.title, *span)
        tests = [test for test in covered.tests_of(module.title, *span) if test in collected]
        if is_only_loaded:
            # A test that reads a constant executes no line of its module.
            tests = list(dict.fromkeys([*(test for test in collected if its_file in test), *tests]))
        fast = [test for test in tests if test.startswith(PURE)]
        slow = [test for test in tests if test not in fast][:MAX_SLOW_TESTS]
        failed = ""
        for its in filter(None, (fast, slow)):
            failed = failed or trials.run(mutant.path, mutant.source, its, is_only_loaded=is_only_loaded)
        module.by_name[name] = failed
        module.save()
    module.save()
    print(line_of(module), flush=True)


def line_of(module: Results) -> str:
    """Return the score of a module in one line."""
    killed = sum(result != "" for result in module.by_name.values())
    return f"{module.title}: {killed} of {len(module.by_name)} killed"


def report(results: Sequence[Results]) -> int:
    """Print the survivors, and the score of each package."""
    totals, kills = Counter[str](), Counter[str]()
    survivors = defaultdict[str, list[str]](list)
    for module in results:
        package = module.title.rpartition("/")[0] or module.title
        totals[package] += len(module.by_name)
        kills[package] += sum(result != "" for result in module.by_name.values())
        survivors[module.title] += [name for name, result in module.by_name.items() if result == ""]
    for names in survivors.values():
        for name in names:
            change, _, place = name.rpartition("\n")
            print(f"\n{place.partition('#')[0]}:{place.rpartition(' line ')[2]}\n{change}")
    print()
    for package, total in totals.items():
        print(f"{package}: {kills[package]} of {total} mutants killed, {100 * kills[package] / max(total, 1):.1f} %")
    return 1 if any(100 * kills[package] < MIN_PERCENT * total for package, total in totals.items()) else 0


if __name__ == "__main__":
    sys.exit(main())
