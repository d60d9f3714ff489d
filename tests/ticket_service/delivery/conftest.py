"""A ticket service whose built-in relay sends mails to a real SMTP server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from sqlalchemy.engine import URL

from tests.environment.clock import SettableClock
from tests.environment.serving import running
from tests.stand_ins.revocations import ScansStandIn
from tests.stand_ins.smtp import Mailbox, serving_mail
from ticket_service.adapters import drawers
from ticket_service.adapters.drawing import draw
from ticket_service.adapters.drawing_worker import Drawn
from ticket_service.app import App
from ticket_service.domain.drawings import Drawing
from ticket_service.domain.wallets import Wallets
from ticket_service.settings import Settings


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with serving_mail(Mailbox()) as mailbox:
        yield mailbox


class DrawingThread:
    """A thread of the test process in the place of a worker process."""

    def __init__(self, wallets: Wallets) -> None:
        self._wallets = wallets

    async def draw_each(self, drawings: Sequence[Drawing]) -> list[Drawn]:
        return [Drawn(await asyncio.to_thread(draw, one, self._wallets), 0.0, 0) for one in drawings]

    async def close(self) -> None:
        pass


@pytest.fixture
def drawing_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw in the test process, which loads the fonts once; a worker process would load them for each test."""
    monkeypatch.setattr(drawers, "DrawingProcess", DrawingThread)


@pytest.fixture
async def mailing_service(
    make_settings: Callable[..., Settings],
    tickets_url: URL,
    clock: SettableClock,
    mailbox: Mailbox,
    scans: ScansStandIn,
) -> AsyncIterator[str]:
    """Run the service; return its address."""
    settings = make_settings(
        TICKETS_RELAY="built-in",
        TICKETS_SMTP_URL=mailbox.url,
        TICKETS_MAIL_FROM="Concert Hall <tickets@example.com>",
        TICKETS_SWEEP_SECONDS="0.1",
        # A failed delivery would wait for the settable clock, and a busy machine may take long to draw the first files.
        TICKETS_DELIVERY_SECONDS="60",
        TICKETS_SCANS_ADDRESS=f"127.0.0.1:{await scans.start()}",
    )
    async with running(App(settings, tickets_url, clock)) as address:
        yield address
