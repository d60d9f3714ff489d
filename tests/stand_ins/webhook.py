"""A webhook for tests: a real HTTP server, written as an integrator would write it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLw=="


@dataclass(frozen=True)
class Post:
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """Verify the signature; return the CloudEvent."""
        event: dict[str, Any] = Webhook(SECRET).verify(self.body, self.headers)
        assert json.loads(self.body) == event
        return event


@dataclass
class Hook:
    """A webhook; `answers` returns the status of each answer, or None to hang, and `header` a line such as "a: b"."""

    answers: Callable[[Post], int | None] = lambda post: 204
    header: str = ""
    posts: list[Post] = field(default_factory=list)
    taken: list[Post] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                post = await self._read(reader)
                self.posts.append(post)
                status = self.answers(post)
                if status is None:
                    # Hang until the client closes the connection.
                    await reader.read()
                    break
                if 200 <= status < 300:
                    self.taken.append(post)
                header = f"{self.header}\r\n" if self.header else ""
                writer.write(f"HTTP/1.1 {status} Answered\r\n{header}content-length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Post:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        return Post(headers, await reader.readexactly(int(headers["content-length"])))

    def kinds(self) -> list[str]:
        """Return the types of the accepted events, in order."""
        return [post.event["type"] for post in self.taken]


@contextlib.asynccontextmanager
async def listening(hook: Hook, port: int = 0) -> AsyncIterator[Hook]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await hook.serve(reader, writer)
        except asyncio.CancelledError:
            # The test ends; the callback of the stream would report an error.
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield hook
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
