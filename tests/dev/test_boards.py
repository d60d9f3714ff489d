"""The pictures of the boards show the answers of Prometheus."""

import json
import xml.etree.ElementTree as ET

import httpx
import pytest

from dev.board_pictures import Series, draw_board
from dev.boards import BOARDS, read_panel

PANEL = {
    "targets": [
        {"expr": 'rate(a{job=~"$job"}[$__rate_interval])', "legendFormat": "{{kind}} {{violation}}"},
    ]
}


def test_the_series_of_a_panel_have_the_names_of_their_legend() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        results = [
            {"metric": {"kind": "b"}, "values": [[10, "NaN"], [20, "2.5"]]},
            {"metric": {"kind": "a"}, "values": [[10, "1"]]},
            {"metric": {"kind": "empty"}, "values": [[10, "NaN"]]},
        ]
        return httpx.Response(200, json={"data": {"result": results}})

    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://prometheus/api/v1") as client:
        found = read_panel(client, PANEL, 10, 20)
    assert found == [Series("a", [(10, 1)]), Series("b", [(20, 2.5)])]
    assert asked[0].params["query"] == 'rate(a{job=~".*"}[15s])'


@pytest.mark.parametrize("file", sorted(BOARDS.glob("*.json")), ids=lambda file: file.stem)
def test_a_picture_shows_every_panel_and_which_has_no_data(file) -> None:
    board = json.loads(file.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    data = {panel["id"]: [Series("<one>", [(10, 0.0), (15, 123.0)])] for panel in panels[1:]}
    picture = ET.fromstring(draw_board(board, data))  # noqa: S314 - made by the line itself
    texts = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {panel["title"] for panel in board["panels"]} <= set(texts)
    assert (texts.count("No data"), texts.count("<one>")) == (1, len(panels) - 1)
