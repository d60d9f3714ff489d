"""The command line of a service: its commands, and their help, which is printed before any setting is read."""

import argparse
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from sqlalchemy.engine import URL

from ticketing.chassis.arguments import WRONG_ARGUMENTS, Parser
from ticketing.chassis.version import VERSION

_NAME_WIDTH: Final = 21
_HELP: Final = ("-h", "--help")
_SETTINGS: Final = (
    "Settings are environment variables, which docs/settings.md lists. A start without settings names those that are "
    "required."
)


def _no_arguments(_: argparse.ArgumentParser) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Command:
    """A command on the database of a service.

    `name` has one or more words, such as `dead-letters list`; `meaning` is one line. `run` returns the exit status.
    `add_arguments` adds what the command takes after its name.
    """

    name: str
    meaning: str
    run: Callable[[URL, argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments


@dataclass(frozen=True, slots=True)
class Given:
    """A parsed command line: a command with its arguments, or one of the other names; an empty name is no command."""

    name: str
    command: Command | None = None
    arguments: argparse.Namespace | None = None


class CommandLine:
    """The command line of one service.

    Args:
        name: the module of the service, as in `python -m NAME`.
        commands: the commands on its database.
        others: the meaning of each other first word; the empty one is the service itself.
    """

    def __init__(self, name: str, commands: Sequence[Command], others: Mapping[str, str]) -> None:
        self._name = name
        self._program = f"python -m {name}"
        self._commands = {command.name: command for command in commands}
        self._others = others

    def parse(self, words: Sequence[str]) -> Given:
        """Return the command that `words` name. Help, the version and wrong arguments end the program."""
        if words and words[0] in _HELP:
            self._print(self.help())
        if list(words) == ["--version"]:
            self._print(f"{self._name} {VERSION}")
        for count in range(len(words), 0, -1):
            name, rest = " ".join(words[:count]), words[count:]
            if (command := self._commands.get(name)) is not None:
                parser = Parser(prog=f"{self._program} {name}", description=_sentence(command.meaning))
                command.add_arguments(parser)
                return Given(name, command, parser.parse_args(rest))
            if name in self._others:
                meaning = _sentence(self._others[name])
                Parser(prog=f"{self._program} {name}", description=f"{meaning} {_SETTINGS}").parse_args(rest)
                return Given(name)
        if words:
            self._refuse(words)
        return Given("")

    def help(self) -> str:
        """Return the list of commands, each with its meaning."""
        meanings = {**self._others, **{command.name: command.meaning for command in self._commands.values()}}
        listed = [
            textwrap.fill(
                meaning,
                width=100,
                initial_indent=f"  {name or '(none)':<{_NAME_WIDTH}} ",
                subsequent_indent=" " * (_NAME_WIDTH + 3),
            )
            for name, meaning in meanings.items()
        ]
        return "\n".join(
            [
                f"usage: {self._program} [COMMAND] [--help] [--version]",
                "",
                *listed,
                "",
                f"`{self._program} COMMAND --help` explains a command.",
                textwrap.fill(_SETTINGS, width=100),
            ]
        )

    def _refuse(self, words: Sequence[str]) -> NoReturn:
        """End the program: the words name no command."""
        first = words[0]
        names = [name for name in [*self._others, *self._commands] if name]
        longer = [name for name in names if name.startswith(f"{first} ")]
        if longer:
            text = f"`{first}` needs one of {', '.join(name.removeprefix(first).strip() for name in longer)}"
        else:
            text = f"there is no command {first}" if not first.startswith("-") else f"there is no option {first}"
        sys.stderr.write(f"{self._program}: {text}; see `{self._program} --help`\n")
        raise SystemExit(WRONG_ARGUMENTS)

    @staticmethod
    def _print(text: str) -> NoReturn:
        sys.stdout.write(f"{text}\n")
        raise SystemExit(0)


def _sentence(meaning: str) -> str:
    return f"{meaning[:1].upper()}{meaning[1:]}."
