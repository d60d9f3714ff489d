import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import psutil
import pytest
from nacl.signing import SigningKey
from prometheus_client import REGISTRY

from tests.environment.qr_codes import read_qr_codes
from tests.environment.waiting import until
from tests.selling import calendars
from tests.selling.rows import NOW, make_event, make_sold
from tests.selling.wallets import make_wallet_files
from ticket_service.adapters import drawing_process
from ticket_service.adapters.drawers import Drawers, DrawingLimits, Turn
from ticket_service.adapters.drawing_process import DrawingProcess, WorkerLostError
from ticket_service.adapters.drawing_worker import NICE, Drawn
from ticket_service.domain.calendar_entries import entries_of
from ticket_service.domain.drawings import Drawing, PrintedTicket, print_ticket
from ticket_service.domain.events import TicketType
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import TicketFormat
from ticket_service.domain.tokens import Signer
from ticketing.chassis.failures import DEPENDENCY_UNAVAILABLE, OVERLOADED, RETRY_SOON, Failure
from ticketing.chassis.ids import new_id

# Each test starts processes that load libraries.
pytestmark = pytest.mark.slow

KEY = SigningKey.generate()
ALICE, BOB = Turn("alice", 2), Turn("bob", 2)


def make_ticket() -> PrintedTicket:
    token = Signer(1, KEY).token(new_id(), new_id(), TicketType.STANDARD, 1)
    return print_ticket(make_sold(make_event()), Secrets("TKT-0123456789ABCDEF", token))


def drawing(ticket_format: TicketFormat = TicketFormat.PNG, tickets: int = 1) -> Drawing:
    printed = tuple(make_ticket() for _ in range(tickets))
    [found] = entries_of(calendars.ALICE, [printed[0].sold], [], calendars.ORGANIZER)
    return Drawing(ticket_format, printed, "", NOW, found.entry if ticket_format is TicketFormat.ICS else None)


def long_drawing() -> Drawing:
    """Return a drawing that keeps a worker busy until the test ends it."""
    return drawing(TicketFormat.PDF, 2_000)


def workers() -> list[psutil.Process]:
    """Return the worker processes of this test process."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def drawn(ticket_format: TicketFormat) -> float:
    """Return how many files of a format workers have drawn."""
    return sample("drawing_seconds_count", format=ticket_format)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def next_turns() -> None:
    """Let the event loop turn until a worker has taken the first job, and the others stand in the queue."""
    for _ in range(3):
        await asyncio.sleep(0)


Make = Callable[..., Drawers]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def start(**limits: Any) -> Drawers:
            # A busy machine may take long to start a process.
            drawers = Drawers("test", DrawingLimits(**{"seconds": 60.0, **limits}))
            stack.push_async_callback(drawers.close)
            return drawers

        yield start


async def refused(job: Awaitable[object]) -> Failure:
    with pytest.raises(Failure) as raised:
        await job
    assert raised.value.reason == OVERLOADED
    assert raised.value.retry_after is not None
    return raised.value


async def test_a_worker_of_lower_priority_draws_and_ends_with_the_drawers(tmp_path):
    drawers = Drawers("test", DrawingLimits(seconds=60.0), make_wallet_files(tmp_path).wallets())
    assert workers() == [], "a process starts with the first drawing"
    files = [drawing(ticket_format) for ticket_format in TicketFormat]
    contents = await drawers.draw_each(files, ALICE)
    assert [content[:4] for content in contents] == [b"\x89PNG", b"<svg", b"%PDF", b"BEGI", b"PK\x03\x04", b"http"]
    assert read_qr_codes(contents[0]) == [files[0].tickets[0].secrets.token]
    [worker] = workers()
    assert worker.nice() == max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
    await drawers.close()
    assert workers() == []


async def test_equal_drawings_are_drawn_once_at_the_same_time_and_later(make):
    drawers, picture = make(), drawing()
    before, cached = drawn(TicketFormat.PNG), sample("drawings_cached_total")
    contents = await asyncio.gather(*(drawers.draw(picture, ALICE) for _ in range(9)))
    contents.append(await drawers.draw(replace(picture, now=NOW.replace(year=2031)), BOB))
    assert len(set(contents)) == 1
    assert (drawn(TicketFormat.PNG) - before, sample("drawings_cached_total") - cached) == (1, 9)


async def test_beyond_the_bound_of_a_caller_only_that_caller_is_refused(make):
    drawers = make()
    busy = asyncio.create_task(drawers.draw(long_drawing(), ALICE))
    await next_turns()
    waiting = [asyncio.create_task(drawers.draw(drawing(), ALICE)) for _ in range(2)]
    await next_turns()
    assert (await refused(drawers.draw(drawing(), ALICE))).message.endswith("drawings of one caller")
    waiting.append(asyncio.create_task(drawers.draw(drawing(), BOB)))
    await asyncio.sleep(0)
    assert not waiting[-1].done()
    for task in (busy, *waiting):
        task.cancel()
    await asyncio.gather(busy, *waiting, return_exceptions=True)


async def test_beyond_the_length_of_the_queue_all_are_refused(make):
    drawers = make(waiting=1)
    jobs = [asyncio.create_task(drawers.draw(long_drawing(), ALICE))]
    await next_turns()
    jobs.append(asyncio.create_task(drawers.draw(drawing(), ALICE)))
    await asyncio.sleep(0)
    assert (await refused(drawers.draw(drawing(), BOB))).message.endswith("drawings")
    for task in jobs:
        task.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)


async def test_callers_take_turns(make):
    drawers, order = make(), list[str]()

    async def draw(name: str, turn: Turn) -> None:
        await drawers.draw(drawing(), turn)
        order.append(name)

    many = Turn("alice", 9)
    await asyncio.gather(
        *(draw(f"alice {n}", many) for n in range(4)), draw("bob", BOB), draw("carol", Turn("carol", 1))
    )
    assert order == ["alice 0", "bob", "carol", "alice 1", "alice 2", "alice 3"]


async def test_a_drawing_is_not_drawn_after_its_caller_has_gone(make):
    drawers = make()
    before = drawn(TicketFormat.SVG)
    busy = asyncio.create_task(drawers.draw(drawing(), ALICE))
    gone = asyncio.create_task(drawers.draw(drawing(TicketFormat.SVG), BOB))
    await next_turns()
    assert sample("drawings_waiting", drawers="test") == 1
    gone.cancel()
    await busy
    await drawers.draw(drawing(), BOB)
    assert drawn(TicketFormat.SVG) == before


async def test_a_job_that_waits_for_too_long_is_refused(make):
    drawers = make(seconds=0.05)
    await refused(drawers.draw(long_drawing(), ALICE))


async def test_a_worker_that_is_killed_draws_again(make):
    drawers = make()
    job = asyncio.create_task(drawers.draw(drawing(TicketFormat.PDF, 40), ALICE))
    [killed] = await until(workers)
    killed.send_signal(signal.SIGKILL)
    assert (await job).startswith(b"%PDF")
    assert workers() != [killed]


async def test_a_worker_that_is_killed_while_it_is_idle_is_replaced(make):
    drawers = make()
    await drawers.draw(drawing(), ALICE)
    [killed] = workers()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (await drawers.draw(drawing(), ALICE)).startswith(b"\x89PNG")


async def test_a_worker_stays_beside_a_large_service(monkeypatch):
    """The memory of a worker does not contain that of the process which started it."""
    ballast = bytearray(os.urandom(1024)) * (300 * 1024)
    process = DrawingProcess()
    [first] = await process.draw_each([drawing()])
    [started] = workers()
    assert first.memory < drawing_process.MAX_MEMORY < len(ballast)
    await process.draw_each([drawing()])
    assert workers() == [started]
    # A worker beyond the bound is replaced.
    monkeypatch.setattr(drawing_process, "MAX_MEMORY", 1)
    await process.draw_each([drawing()])
    assert workers() == []
    await process.close()


async def test_a_drawing_that_does_not_end_is_ended_by_the_kernel():
    process = DrawingProcess(max_cpu_seconds=0.5)
    with pytest.raises(WorkerLostError):
        await process.draw_each([long_drawing()])
    [small] = await process.draw_each([drawing()])
    assert small.content.startswith(b"\x89PNG")
    await process.close()


async def test_a_caller_whose_worker_is_killed_twice_may_try_again(make, monkeypatch):
    """Killed from outside, such as for memory, and not by the drawing."""
    drawers, kills = make(), [True, True]
    draw_each = DrawingProcess.draw_each

    async def draw_or_end(process: DrawingProcess, drawings: Sequence[Drawing]) -> list[Drawn]:
        if kills:
            kills.pop()
            raise WorkerLostError
        return await draw_each(process, drawings)

    monkeypatch.setattr(DrawingProcess, "draw_each", draw_or_end)
    with pytest.raises(Failure) as caught:
        await drawers.draw(drawing(), ALICE)
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE
    assert caught.value.retry_after == RETRY_SOON
    assert await drawers.draw(drawing(), ALICE)


async def test_a_fault_of_one_drawing_reaches_its_caller_alone(make):
    drawers = make()
    faulty = drawing(tickets=2)
    with pytest.raises(ValueError, match="too many values"):
        await drawers.draw(faulty, ALICE)
    assert await drawers.draw(drawing(), BOB)
