"""A port that several processes of one service share."""

import socket
from types import TracebackType
from typing import Self


class ReservedPort:
    """A port that other programs cannot take while workers end and start again; it refuses programs of other users."""

    def __init__(self, host: str, port: int) -> None:
        """Reserve the port on every address of the host; with port 0 the system chooses one.

        Raises:
            OSError: the port is in use, or the address is not of this machine.
        """
        self._sockets: list[socket.socket] = []
        self.port = port
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM
            ):
                reserved = socket.socket(family, kind, protocol)
                self._sockets.append(reserved)
                # Connections in TIME_WAIT do not make the port busy.
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                reserved.bind((address[0], self.port, *address[2:]))
                # Only now may others share the port: another supervisor would share it silently, and mix two services.
                # This socket does not listen, so it gets no connection.
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
                reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                self.port = reserved.getsockname()[1]
        except OSError as error:
            self.close()
            raise OSError(f"cannot listen on {host}:{port}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the port."""
        for reserved in self._sockets:
            reserved.close()
