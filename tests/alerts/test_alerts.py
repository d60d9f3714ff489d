"""Every alert uses exported metrics, fires at its fault, clears after it, and has a section that says what to do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.alert_cases import CASES, MINUTES
from tests.alerts.documented_metrics import series_labels
from tests.alerts.promql import grouping_labels, selectors
from tests.alerts.promtool import RULES, alerts_firing, promtool, run_unit_tests
from tests.environment import ROOT

# Prometheus adds these labels.
OF_PROMETHEUS = {"job", "instance", "le"}
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)

Rule = Mapping[str, Any]


def rules() -> list[Rule]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = HEADING.findall(page.read_text())
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_uses_exported_metrics_and_their_labels(rule: Rule) -> None:
    known = series_labels()
    usable = set(OF_PROMETHEUS)
    for name, labels in selectors(rule["expr"]):
        assert labels <= known[name] | OF_PROMETHEUS
        usable |= known[name]
    texts = " ".join(rule["annotations"].values())
    assert grouping_labels(rule["expr"]) | set(re.findall(r"\$labels\.(\w+)", texts)) <= usable


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happens_and_what_to_do(rule: Rule) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(ROOT / page)
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    section = (ROOT / page).read_text().partition(f"### {rule['alert']}\n")[2].partition("\n\n")[0]
    assert section.startswith("**Critical.**") == (rule["labels"]["severity"] == "critical")


def test_an_inhibition_names_alerts_that_exist() -> None:
    text = (ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text()
    assert set(re.findall(r"Ticketing\w+", text)) <= {rule["alert"] for rule in rules()}


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_each_alert_fires_at_its_fault_and_clears_after_it(tmp_path: Path) -> None:
    assert [rule["alert"] for rule in rules()] == list(CASES)
    tests: list[Mapping[str, object]] = [
        {
            "name": alert,
            "interval": "1m",
            "input_series": [{"series": one.name, "values": one.values} for one in series],
            "promql_expr_test": [alerts_firing(own, MINUTES, 1), alerts_firing(own, 2 * MINUTES, 0)],
        }
        for alert, series in CASES.items()
        for own in [f'alertname="{alert}"']
    ]
    run_unit_tests(tmp_path, tests)
