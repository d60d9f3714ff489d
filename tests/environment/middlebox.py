"""A proxy or sign-in page that answers HTTP/2 requests itself, with an HTTP status instead of a gRPC one."""

import socket
import struct
import threading
from contextlib import suppress

_HEADERS, _DATA, _RST_STREAM, _SETTINGS = 1, 0, 3, 4
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
# The fields of the static table of RFC 7541 whose names the answer uses.
_STATUS, _CONTENT_TYPE = 8, 31


class Middlebox:
    """A server that answers every HTTP/2 request with `status` and a page; without a status it resets the stream."""

    def __init__(self, status: int | None) -> None:
        self._status = status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests = 0

    def close(self) -> None:
        """Accept no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            stream.read(len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
            connection.sendall(_frame(_SETTINGS))
            while head := stream.read(9):
                length, kind, flags, stream_id = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
                stream.read(length)
                if kind == _SETTINGS and not flags & _ACK:
                    connection.sendall(_frame(_SETTINGS, _ACK))
                elif kind == _HEADERS:
                    self.requests += 1
                    connection.sendall(self._answer(int.from_bytes(stream_id, "big")))

    def _answer(self, stream_id: int) -> bytes:
        if self._status is None:
            return _frame(_RST_STREAM, 0, stream_id, struct.pack(">I", 2))
        headers = _field(_STATUS, str(self._status)) + _field(_CONTENT_TYPE, "text/html")
        page = b"<html><body>Please sign in to the guest network</body></html>"
        return _frame(_HEADERS, _END_HEADERS, stream_id, headers) + _frame(_DATA, _END_STREAM, stream_id, page)


def _frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def _field(name: int, value: str) -> bytes:
    """Encode a header field without indexing; the name is an index of the static table."""
    index = bytes([name]) if name < 15 else bytes([15, name - 15])
    return index + bytes([len(value)]) + value.encode()
