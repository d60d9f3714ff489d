"""The gate device's program as a process."""

import json
import os
import subprocess
import time
from typing import Any

from tests.environment import ROOT


class Process:
    """A device's program with its input and output."""

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/protos"}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def kill_while_scanning(self, tokens: list[str], seconds: float) -> list[dict[str, Any]]:
        """Scan tokens, kill the device `seconds` after its first answer, and return the answers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("".join(f"{token}\n" for token in tokens).encode())
        first = self._process.stdout.readline()
        time.sleep(seconds)  # The load: the moment of the kill varies.
        self._process.kill()
        rest = self._process.stdout.read()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        return [json.loads(line) for line in (first + rest).splitlines(keepends=True) if line.endswith(b"\n")]
