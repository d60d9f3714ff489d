"""The arguments of every program: a wrong one gives one line, which names the help."""

import argparse
from typing import Final, NoReturn

WRONG_ARGUMENTS: Final = 2


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument in one line; argparse itself prints the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Print the fault and end the program with status 2."""
        self.exit(WRONG_ARGUMENTS, f"{self.prog}: {message}; see `{self.prog} --help`\n")
