import subprocess
import sys

import pytest
from prometheus_client import generate_latest

from tests.environment import ROOT
from ticketing.chassis import service
from ticketing.chassis.version import VERSION

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("program", ["ticket_service", "scan_service", "ticketing.gate"])
def test_every_program_prints_its_version(program: str) -> None:
    command = [sys.executable, "-m", program, "--version"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.split()[1:] == [VERSION]


def test_services_export_their_version_as_a_metric() -> None:
    assert service.BUILD is not None
    assert f'ticketing_build_info{{version="{VERSION}"}} 1.0' in generate_latest().decode()
