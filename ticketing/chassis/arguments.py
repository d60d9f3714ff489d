"""The arguments of every program: a wrong one gives one line, which names the help."""

import argparse
from datetime import UTC, datetime
from typing import Final, NoReturn

WRONG_ARGUMENTS: Final = 2


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one line; argparse itself prints the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Print the fault and end the program with status 2."""
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def read_past(text: str) -> datetime:
    """Read a time of ISO 8601 that has passed; without an offset it is UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2030-05-01T20:00:00Z") from None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    if time > datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text!r} is in the future")
    return time
