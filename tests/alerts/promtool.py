"""Runs of promtool, the checker of Prometheus; a machine without it skips the test."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from tests.environment import ROOT

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"


def promtool(*arguments: str) -> None:
    """Run promtool; fail with its output, or skip where it is missing."""
    if (program := shutil.which("promtool")) is None:
        pytest.skip("promtool is missing: install the Debian package `prometheus`")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run_unit_tests(folder: Path, tests: Sequence[Mapping[str, object]]) -> None:
    """Run unit tests of the rules, which promtool evaluates every five minutes."""
    file = folder / "unit_tests.yml"
    content = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": list(tests)}
    file.write_text(yaml.safe_dump(content))
    promtool("test", "rules", str(file))


def alerts_firing(matchers: str, minute: int, times: int) -> Mapping[str, object]:
    """Return the part of a unit test by which so many alerts fire at that minute."""
    expression = f'count(ALERTS{{{matchers}, alertstate="firing"}}) or vector(0)'
    return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": [{"labels": "{}", "value": times}]}
