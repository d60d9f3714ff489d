"""The gate device's program on a pseudo terminal: a test types the exact bytes of a scanner, and reads the answers."""

import json
import os
import pty
import select
import subprocess
import termios
import time
from typing import Any, Self

from tests.environment import ROOT
from tests.environment.waiting import eventually


class TerminalGate:
    """A program whose standard input is a terminal; its answers are lines of JSON or, with `screen`, that terminal."""

    def __init__(self, command: list[str], *, screen: bool = False) -> None:
        self._scanner, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT}/protos",
            "TERM": "xterm",
            "LINES": "24",
            "COLUMNS": "80",
        }
        out = self.terminal if screen else subprocess.PIPE
        self.process = subprocess.Popen(
            command if screen else [*command, "--json"],
            cwd=ROOT,
            env=environment,
            stdin=self.terminal,
            stdout=out,
            stderr=self.terminal,
            # Without a terminal of its own, the program would get the signals of the test.
            start_new_session=True,
        )
        self._buffer = b""
        self._seen = b""
        eventually(self.is_raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        os.close(self._scanner)
        os.close(self.terminal)

    def is_raw(self) -> bool:
        """Return whether the program reads the terminal raw; fail if it has ended."""
        assert self.process.poll() is None, self.seen()
        return not termios.tcgetattr(self.terminal)[3] & termios.ISIG

    def type(self, *parts: bytes, pause: float = 0.0) -> None:
        """Type bytes, with a pause in seconds after each part."""
        for part in parts:
            os.write(self._scanner, part)
            # The pace of a person is what the program measures.
            time.sleep(pause)

    def answer(self) -> dict[str, Any]:
        """Return the next answer."""
        assert self.process.stdout is not None
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], 40)
            assert ready, f"no answer; the terminal shows {self.seen()!r}"
            data = os.read(self.process.stdout.fileno(), 65_536)
            assert data, f"the program has ended; the terminal shows {self.seen()!r}"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def scan(self, data: bytes) -> dict[str, Any]:
        """Type bytes and return the next answer."""
        self.type(data)
        return self.answer()

    def seen(self) -> bytes:
        """Return everything that the terminal has shown."""
        while select.select([self._scanner], [], [], 0)[0]:
            self._seen += os.read(self._scanner, 65_536)
        return self._seen
