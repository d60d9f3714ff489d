"""A TCP proxy: the network between two programs, which a test interrupts."""

import contextlib
import socket
import threading


class Proxy:
    """A proxy that forwards connections from its own port, and from the address `source`, to `target` until `cut`."""

    def __init__(self, target: tuple[str, int], port: int = 0, source: str = "") -> None:
        self._target = target
        # The address from which the target is called; empty: the system chooses it.
        self._source = (source, 0)
        self._listener = socket.create_server(("127.0.0.1", port))
        # Entries leave when their connection ends: devices that reconnect often would use up all file descriptors.
        self._open: dict[threading.Thread, tuple[socket.socket, socket.socket]] = {}
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def cut_connections(self) -> None:
        """End every open connection; the proxy accepts new ones."""
        with self._lock:
            ends = [end for pair in self._open.values() for end in pair]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End every connection and accept no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        with self._lock:
            carriers = list(self._open)
        self.cut_connections()
        for carrier in carriers:
            carrier.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, source_address=self._source)
            except OSError:
                # The target does not listen: refuse the caller.
                near.close()
                continue
            carrier = threading.Thread(target=self._carry, args=(near, far), daemon=True)
            with self._lock:
                self._open[carrier] = (near, far)
            carrier.start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            back = threading.Thread(target=self._pass_on, args=(far, near), kwargs={"is_answer": True}, daemon=True)
            back.start()
            self._pass_on(near, far, is_answer=False)
            back.join()
        with self._lock:
            del self._open[threading.current_thread()]

    def _is_delivered(self, *, is_answer: bool) -> bool:
        """Wait as long as the network takes; return whether the received bytes go on to the other side."""
        return True

    def _pass_on(self, source: socket.socket, sink: socket.socket, *, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if self._is_delivered(is_answer=is_answer):
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
