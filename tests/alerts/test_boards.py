"""Every panel of the boards uses exported metrics and their labels."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.alerts.documented_metrics import series_labels
from tests.alerts.promql import grouping_labels, selectors
from tests.environment import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = sorted((GRAFANA / "boards").glob("*.json"))
# Prometheus adds these labels.
OF_PROMETHEUS = {"job", "instance", "le"}

Panel = Mapping[str, Any]


def panels() -> Iterator[tuple[str, Panel]]:
    for board in BOARDS:
        for panel in json.loads(board.read_text())["panels"]:
            if panel["type"] != "row":
                yield f"{board.stem}: {panel['title']}", panel


@pytest.mark.parametrize("panel", [panel for _, panel in panels()], ids=[name for name, _ in panels()])
def test_a_panel_uses_exported_metrics_and_their_labels(panel: Panel) -> None:
    known = series_labels()
    for target in panel["targets"]:
        usable = set(OF_PROMETHEUS)
        for name, labels in selectors(target["expr"]):
            assert labels <= known[name] | OF_PROMETHEUS
            usable |= known[name]
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert grouping_labels(target["expr"]) | shown <= usable
        if (grouped := grouping_labels(target["expr"])) and "histogram_quantile" not in target["expr"]:
            # A legend without a label of the grouping shows several lines with one name.
            assert grouped == shown


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_a_board_fits_the_grid_and_begins_with_a_row(board: Any) -> None:
    content = json.loads(board.read_text())
    taken = set[tuple[int, int]]()
    assert content["panels"][0]["type"] == "row"
    for panel in content["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len({panel["id"] for panel in content["panels"]}) == len(content["panels"])


def test_the_boards_use_the_provisioned_data_source() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    used = {target["datasource"]["uid"] for _, panel in panels() for target in panel["targets"]}
    assert used == {source["uid"]}
