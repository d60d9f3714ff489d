"""The recipes of docs/operations.md: their commands, and the shape of what these print."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

PROMPT, CONTINUATION = "$ ", "> "
# Whole lines, or a part of a line, that the page leaves out.
LEFT_OUT = "…"
VARYING = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|\+00:00)?"), "TIME"),
)


@dataclass(frozen=True)
class Command:
    """A command as the operator types it, and the lines that it prints."""

    typed: str
    printed: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """A section of the runbook; one without commands refers to a procedure that another test performs."""

    name: str
    commands: tuple[Command, ...]


def read_recipes(page: str) -> list[Recipe]:
    """Return the sections of the runbook before its alerts, in order."""
    text = page.partition("\n## Alerts\n")[0]
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return [_recipe(section) for section in sections]


def anchor(name: str) -> str:
    """Return the anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")


def _recipe(section: str) -> Recipe:
    name, _, body = section.partition("\n")
    blocks = re.findall(r"^```console\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
    return Recipe(name, tuple(command for block in blocks for command in _commands(block)))


def _commands(block: str) -> list[Command]:
    found: list[Command] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines()
        more = [line for line in rest if line.startswith(CONTINUATION)]
        typed = "\n".join([first, *(line.removeprefix(CONTINUATION) for line in more)])
        found.append(Command(typed, tuple(rest[len(more) :])))
    return found


def has_shape(printed: Sequence[str], wanted: Sequence[str]) -> bool:
    """Compare lines; ids and times may differ, and the page may leave out lines and parts of a line."""
    pattern = "".join(_pattern(line) for line in wanted)
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in printed)) is not None


def _pattern(line: str) -> str:
    if line.strip() == LEFT_OUT:
        return r"(?:.*\n)*?"
    return ".*".join(re.escape(part) for part in _plain(line).split(LEFT_OUT)) + r"\n"


def _plain(line: str) -> str:
    line = line.rstrip()
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return line
