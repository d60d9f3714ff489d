"""The outcome of a run, and its lines for a person."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Result:
    """The outcome of a run."""

    seed: int
    # The answered and the unanswered operations of the clients, by kind.
    answered: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    # The errors that clients saw.
    errors: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    settle_seconds: float = 0.0
    # The effects of the faults on the database servers, by name.
    effects: Counter[str] = field(default_factory=Counter)
    # The faults that this machine does not permit.
    left_out: list[str] = field(default_factory=list)
    # The causes on /readyz, by the number of answers.
    causes: Counter[str] = field(default_factory=Counter)
    linearized: int = 0
    sold: int = 0
    violations: list[str] = field(default_factory=list)


def show(result: Result, seconds: float, folder: Path | None) -> None:
    """Print the counts and the violations of a run."""
    print(
        f"seed {result.seed}: {result.answered.total()} answered, {result.unanswered.total()} unanswered,"
        f" {result.sold} tickets, {result.linearized} linearized, {result.injected.total()} faults,"
        f" {result.starts} starts, settled after {result.settle_seconds:.1f} s, {len(result.violations)} violations,"
        f" {seconds:.0f} s"
    )
    print(f"  operations: {words(result.answered)}")
    print(f"  faults: {words(result.injected)}")
    print(f"  database servers: {words(result.effects)}")
    print(f"  readiness: {words(result.causes)}")
    if result.left_out:
        print(f"  left out, because this machine permits no mount: {', '.join(result.left_out)}")
    print(f"  errors: {words(result.errors)}")
    for violation in result.violations:
        print(f"  VIOLATION {violation}")
    if folder is not None:
        print(f"  kept in {folder}")
    sys.stdout.flush()


def words(counts: Counter[str]) -> str:
    """Return counts in one line."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "none"
