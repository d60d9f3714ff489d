"""Both kinds of channel, and a server that answers as a test says."""

from collections.abc import Iterator

import pytest

from tests.client.channels import Caller, with_asyncio, with_threads
from tests.stand_ins.scripted_service import ScriptedService
from ticket_service.errors import CATALOGUE


@pytest.fixture(params=[with_threads, with_asyncio], ids=["threads", "asyncio"])
def caller(request: pytest.FixtureRequest) -> Caller:
    made: Caller = request.param
    return made


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    service = ScriptedService(CATALOGUE)
    yield service
    service.close()
