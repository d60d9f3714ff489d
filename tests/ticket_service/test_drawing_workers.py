"""The worker processes of a service end with it, however it ends."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import grpc.aio
import psutil
import pytest
from sqlalchemy.engine import URL

from tests.environment.access import Issuer
from tests.environment.waiting import until
from tests.processes.ticket_service import TicketProcess
from tests.selling.rows import sold
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.tickets.v1 import ticket_service_pb2 as pb
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow


@pytest.fixture
async def process(environment_of: Callable[..., dict[str, str]], tickets_url: URL) -> AsyncIterator[TicketProcess]:
    variables = environment_of(TICKETS_DATABASE_URL=tickets_url.render_as_string(hide_password=False))
    with await asyncio.to_thread(TicketProcess, variables) as process:
        yield process


@pytest.fixture
async def draw(
    process: TicketProcess, database: Database, clock: Clock, issuer: Issuer
) -> AsyncIterator[Callable[..., grpc.aio.Call]]:
    """Call RenderTicket for a ticket of Alice, by default for its page."""
    _, [ticket_id] = await sold(database, clock)
    async with grpc.aio.insecure_channel(process.address) as channel:

        def call(ticket_format: pb.TicketFormat.ValueType = pb.TICKET_FORMAT_PDF) -> grpc.aio.Call:
            request = pb.RenderTicketRequest(ticket_id=str(ticket_id), format=ticket_format)
            return TicketServiceStub(channel).RenderTicket(request, metadata=issuer.metadata())

        yield call


def children() -> list[psutil.Process]:
    """Return the processes that the service has started."""
    [service] = [one for one in psutil.Process().children() if one.cmdline()[1:] == ["-m", "ticket_service"]]
    found: list[psutil.Process] = service.children(recursive=True)
    return found


def have_ended(processes: list[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


async def test_workers_end_with_a_service_that_is_stopped(process, draw):
    assert (await draw()).content.startswith(b"%PDF")
    started = children()
    assert started
    # Ctrl-C in a terminal, and the end of a container or of a systemd unit, reach the workers too.
    for number in (signal.SIGINT, signal.SIGTERM):
        for child in started:
            os.kill(child.pid, number)
    assert (await draw(pb.TICKET_FORMAT_SVG)).content.startswith(b"<svg")
    assert children() == started, "they ignore the signals"
    assert await asyncio.to_thread(process.end) == 0
    await until(lambda: have_ended(started))
    assert "Traceback" not in process.log()


async def test_workers_end_with_a_service_that_is_killed(process, draw):
    drawing = draw()
    await until(children)
    started = children()
    await asyncio.to_thread(process.end, signal.SIGKILL)
    await until(lambda: have_ended(started))
    with contextlib.suppress(grpc.aio.AioRpcError):
        await drawing
