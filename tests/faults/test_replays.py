"""The list of replays and the page about reliability agree; the replays themselves run by a command."""

import pytest

from tests.environment import ROOT
from tests.faults.known_faults import REPLAYS
from tests.faults.program import FASTER, owner_of
from tests.faults.replays import row


def test_the_page_lists_every_replay():
    lines = (ROOT / "docs" / "reliability.md").read_text().splitlines()
    begin = lines.index("| fault | area | commit before the fix | replay | the run reports |")
    table = lines[begin + 2 : begin + 2 + len(REPLAYS) + 1]
    assert table == [*map(row, REPLAYS), ""]


@pytest.mark.parametrize("name", [name for names in FASTER.values() for name in names])
def test_a_run_shortens_only_pauses_that_exist(name: str):
    assert owner_of(name) is not None
