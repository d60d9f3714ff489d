"""Clients wait for a slow handshake, on a crowded Wi-Fi or with a busy peer."""

import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tests.environment.certificates import Folder
from ticketing.chassis.tls import Tls
from ticketing.client.channel_options import CHANNEL_OPTIONS

# A handshake over a bad mobile network takes so long.
SLOW_SECONDS = 1.0


def test_a_client_waits_a_second_for_a_handshake(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        given_up = pool.submit(was_given_up, listener)
        channel = Tls(server_ca=folder.ca).channel(f"127.0.0.1:{listener.getsockname()[1]}", CHANNEL_OPTIONS)
        try:
            grpc.channel_ready_future(channel)
            assert not given_up.result()
        finally:
            channel.close()


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def was_given_up(listener: socket.socket) -> bool:
    """Accept a connection without an answer; return whether the client closed it."""
    listener.settimeout(20)
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(SLOW_SECONDS)
        try:
            while connection.recv(65_536):
                pass
        except TimeoutError:
            return False
    return True
