"""A real NATS server with JetStream that tests can stop and restart."""

import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats

from dev.clients import free_ports
from tests.environment.waiting import eventually

PROGRAM = Path(sys.executable).with_name("nats-server")


class NatsServer:
    """A server whose streams are stored in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server and wait until it listens, because a client sleeps two seconds after a refused connection."""
        options = ["-a", "127.0.0.1", "-p", str(self._port), "-js", "-sd", str(self._directory)]
        self._process = subprocess.Popen([PROGRAM, *options], stderr=subprocess.DEVNULL)
        eventually(self._listens)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "nats-server has ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False

    def stop(self) -> None:
        """Kill the server; acknowledged messages remain."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def messages(self, stream: str = "ticketing") -> list[Any]:
        """Read all messages of a stream, in order."""
        client = await nats.connect(self.url)
        try:
            js = client.jetstream()
            count = (await js.stream_info(stream)).state.messages
            return [await js.get_msg(stream, seq=n) for n in range(1, count + 1)]
        finally:
            await client.close()
