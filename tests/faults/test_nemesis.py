"""The nemesis plans faults by its seed alone, and only those that the servers of the run can suffer."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.alone import Alone
from tests.faults.database import ALONE, DISK_FAULTS, FAULTS, LAGGING, PATRONI, STANDBY
from tests.faults.nemesis import Nemesis
from tests.faults.patroni import PatroniServers
from tests.faults.standby import WithStandby

PROGRAMS = {ALONE: Alone, STANDBY: WithStandby, LAGGING: WithStandby, PATRONI: PatroniServers}
COUNT = 2_000


def nemesis(seed: int, **faults: float) -> Nemesis:
    """Return a nemesis on servers with some faults."""
    site: Any = SimpleNamespace(database=SimpleNamespace(faults=faults))
    unused: Any = None
    return Nemesis(site, unused, [], unused, seed, [])


def test_a_seed_repeats_its_plan():
    plans = [nemesis(seed, **FAULTS[ALONE]).plan(0, COUNT) for seed in (7, 7, 8)]
    assert plans[0] == plans[1] != plans[2]


@pytest.mark.parametrize("kind", FAULTS)
def test_each_planned_fault_can_be_inflicted(kind: str):
    made = nemesis(1, **FAULTS[kind])
    planned = {injection.fault for injection in made.plan(0, COUNT)}
    assert FAULTS[kind].keys() <= planned
    for fault in planned:
        name = fault.replace(" ", "_")
        owner: object = PROGRAMS[kind] if fault in FAULTS[kind] else made
        assert callable(getattr(owner, name if fault in FAULTS[kind] else f"_{name}")), fault


def test_servers_without_a_small_disk_are_never_full():
    faults = {name: weight for name, weight in FAULTS[ALONE].items() if name not in DISK_FAULTS}
    assert not any(injection.fault in DISK_FAULTS for injection in nemesis(1, **faults).plan(0, COUNT))
