"""The services for which the examples are written, and the environment of an example."""

import os
import subprocess
import sys
from dataclasses import dataclass

import grpc

from dev.clients import ApiClient
from tests.e2e.service_pair import ServicePair
from tests.environment import ROOT
from tests.stand_ins.stripe import StripeStandIn


@dataclass(frozen=True)
class Site:
    """The services, and the variables with which an example runs."""

    pair: ServicePair
    stripe: StripeStandIn
    variables: dict[str, str]

    def organizer(self) -> ApiClient:
        """Make a client of the organizer."""
        tickets, scans = (
            self.pair.stack.enter_context(grpc.insecure_channel(self.variables[name]))
            for name in ("TICKETS_ADDRESS", "SCANS_ADDRESS")
        )
        return ApiClient(tickets, scans, self.variables["ORGANIZER_TOKEN"])

    def start(self, example: str, **more: str) -> subprocess.Popen[str]:
        """Start a Python example with pipes."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "python" / example)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos'}", **self.variables, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, example: str, **more: str) -> str:
        """Run a Python example to its end; return what it printed."""
        process = self.start(example, **more)
        printed, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        return printed.strip()
