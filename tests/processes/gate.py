"""The device's program as a process, with people in front of it."""

import json
import os
import subprocess
import time
from typing import Any

from tests.environment import ROOT


class Process:
    """A device's program, with people in front of it."""

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/protos"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def kill_while_scanning(self, tokens: list[str], seconds: float) -> list[dict[str, Any]]:
        """Show tokens as fast as they are read, kill it after the first answer and some time; return the answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("".join(f"{token}\n" for token in tokens).encode())
        first = self._process.stdout.readline()
        time.sleep(seconds)  # The moment of the blow is what is tried, nothing is waited for.
        self._process.kill()
        rest = self._process.stdout.read()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        return [json.loads(line) for line in (first + rest).splitlines(keepends=True) if line.endswith(b"\n")]
