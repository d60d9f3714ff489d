"""Each recipe of docs/operations.md is performed: what its commands print has the shape that the page shows."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.environment import ROOT
from tests.runbook.preparations import PREPARATIONS
from tests.runbook.recipes import Recipe, anchor, has_shape, read_recipes
from tests.runbook.site import Site

# Each recipe starts several programs.
pytestmark = pytest.mark.timeout(300)

PAGE = (ROOT / "docs" / "operations.md").read_text()
RECIPES = read_recipes(PAGE)
BIN = Path(sys.executable).parent
FIRST = "Before you begin"
TYPED = [recipe for recipe in RECIPES if recipe.commands and recipe.name != FIRST]
# Procedures of several processes or servers, and the test that performs each.
ELSEWHERE = {
    "Cancel an event that has ended": (
        "tests/ticket_service/use_cases/test_event_cancellation.py",
        "test_an_ended_event_is_cancelled_and_refunded_except_for_check_ins",
    ),
    "Upgrade": ("tests/e2e/test_upgrade.py", "test_an_upgrade_fails_no_call"),
    "Move to a new database server": ("tests/e2e/test_new_server.py", "test_a_pair_moves_to_a_new_database_server"),
    "Back up": ("tests/e2e/test_recovery.py", "test_a_restore_that_lost_nothing_is_clean"),
    "Restore": ("tests/e2e/test_recovery.py", "test_a_lost_sale_keeps_its_place_and_its_ticket"),
    "Restore the scans database": (
        "tests/scan_service/use_cases/test_recoveries.py",
        "test_a_reported_check_in_is_taken_back_and_replaced_by_the_gates_scan",
    ),
}


def test_every_recipe_is_performed_by_a_test() -> None:
    assert {recipe.name for recipe in TYPED} == set(PREPARATIONS)
    assert {recipe.name for recipe in RECIPES if not recipe.commands} == set(ELSEWHERE)
    for path, name in ELSEWHERE.values():
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_the_table_of_symptoms_leads_to_every_recipe() -> None:
    table = PAGE.partition(f"## {FIRST}\n")[0]
    linked = set(re.findall(r"\]\(#([\w-]+)\)", table))
    assert {anchor(recipe.name) for recipe in RECIPES} - linked == {anchor(FIRST), anchor("Back up")}


@pytest.mark.parametrize(
    ("wanted", "is_same"),
    [
        (["a 2030-05-01 18:00:00Z", "…", "z"], True),
        (["a 2030-05-01 18:00:00Z", "z"], False),
        (["a …", "b", "c", "z"], True),
        (["…", "c"], False),
        (["a 18:00", "…"], False),
    ],
)
def test_shapes_differ_in_times_and_in_what_is_left_out_alone(wanted: list[str], *, is_same: bool) -> None:
    assert has_shape(["a 2031-06-02T19:00:00.123Z", "b", "c", "z"], wanted) == is_same


def skip_without_programs(recipe: Recipe) -> None:
    """Skip the test where a program of the operator is missing."""
    typed = "\n".join(command.typed for command in recipe.commands)
    if re.search(r"^(tickets|scans) ", typed, re.MULTILINE) and not (BIN / "grpcurl").exists():
        pytest.skip("the package of grpcurl exists for Linux x86_64 alone")
    if "curl -s" in typed and shutil.which("curl") is None:
        pytest.skip("needs the Debian package curl")


@pytest.mark.slow
def test_an_operator_gets_a_token_as_the_page_says(site: Site) -> None:
    [first, search] = [recipe for recipe in RECIPES if recipe.name in {FIRST, "Find out why a scan was denied"}]
    skip_without_programs(search)
    call = search.commands[0]
    [printed] = site.run([call], first.commands, PREPARATIONS[search.name](site))
    assert has_shape(printed, call.printed), "\n".join(printed)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", TYPED, ids=lambda recipe: anchor(recipe.name))
def test_a_recipe_prints_what_the_page_shows(site: Site, recipe: Recipe) -> None:
    skip_without_programs(recipe)
    variables = PREPARATIONS[recipe.name](site)
    token = {"TOKEN": site.keys.token("operator", "opal")}
    [first] = [recipe for recipe in RECIPES if recipe.name == FIRST]
    functions = [command for command in first.commands if not command.typed.startswith("TOKEN=")]
    printed = site.run(recipe.commands, functions, token | variables)
    for command, lines in zip(recipe.commands, printed, strict=True):
        assert has_shape(lines, command.printed), "\n".join([command.typed, *lines])
