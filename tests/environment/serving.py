"""A service in the event loop of the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol


class App(Protocol):
    """The application of either service."""

    async def start(self) -> int: ...
    async def stop(self) -> None: ...


@asynccontextmanager
async def running(app: App) -> AsyncIterator[str]:
    """Run a service; yield its address."""
    try:
        yield f"127.0.0.1:{await app.start()}"
    finally:
        await app.stop()
