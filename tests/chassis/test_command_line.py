"""The command line of a service: help, versions, and what is refused before any setting is read."""

from argparse import ArgumentParser, Namespace

import pytest
from sqlalchemy.engine import URL

from ticketing.chassis.command_line import Command, CommandLine, Given
from ticketing.chassis.version import VERSION


def nothing(_: URL, __: Namespace) -> int:
    return 0


def names(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+")


LIST, ENABLE = Command("things", "list the things", nothing), Command("things enable", "enable things", nothing, names)
LINE = CommandLine(
    "toy", [LIST, ENABLE, Command("boxes show", "show the boxes", nothing)], {"": "run", "relay": "relay"}
)


def exit_of(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """Return the exit status, standard output and standard error of words that end the program."""
    with pytest.raises(SystemExit) as ended:
        LINE.parse(words.split())
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


def test_words_name_the_longest_command() -> None:
    assert LINE.parse(["things"]) == Given("things", LIST, Namespace())
    assert LINE.parse(["things", "enable", "a", "b"]) == Given("things enable", ENABLE, Namespace(names=["a", "b"]))
    assert LINE.parse(["relay"]) == Given("relay")
    assert LINE.parse([]) == Given("")


@pytest.mark.parametrize("words", ["--help", "-h", "--help things"])
def test_help_lists_each_command_once_with_its_meaning(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, errors = exit_of(words, capsys)
    assert (status, errors) == (0, "")
    assert [line.split(maxsplit=1)[0] for line in printed.splitlines() if line.startswith("  ")] == [
        "(none)",
        "relay",
        "things",
        "things",
        "boxes",
    ]
    assert printed.count("list the things") == printed.count("enable things") == 1
    assert "docs/settings.md" in printed


@pytest.mark.parametrize("words", ["things", "things enable", "boxes show", "relay"])
def test_every_command_has_help(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, _ = exit_of(f"{words} --help", capsys)
    assert status == 0
    assert printed.startswith(f"usage: python -m toy {words} [-h]")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of("--version", capsys) == (0, f"toy {VERSION}\n", "")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("thing", "python -m toy: there is no command thing; see `python -m toy --help`"),
        ("--loud", "python -m toy: there is no option --loud; see `python -m toy --help`"),
        ("boxes", "python -m toy: `boxes` needs one of show; see `python -m toy --help`"),
        ("boxes open", "python -m toy: `boxes` needs one of show; see `python -m toy --help`"),
        ("things x", "python -m toy things: unrecognized arguments: x; see `python -m toy things --help`"),
        (
            "things enable",
            "python -m toy things enable: the following arguments are required: NAME; see `python -m toy things enable --help`",
        ),
        ("relay now", "python -m toy relay: unrecognized arguments: now; see `python -m toy relay --help`"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words: str, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_of(words, capsys) == (2, "", f"{fault}\n")
