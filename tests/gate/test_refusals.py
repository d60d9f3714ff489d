"""Only the scan service's own refusal stops a device; everything else between them is a fault of the network."""

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import cast

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from tests.environment.middlebox import Middlebox
from tests.environment.waiting import eventually
from ticketing.gate import refusal, retrying
from ticketing.gate.connection_status import REFUSED_NOTE
from ticketing.gate.credential import Credential, CredentialError
from ticketing.gate.retrying import Outcome, RetryingThread
from ticketing.gate.screen import PROBLEM_CHARACTERS

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
OWN_TEXT = "UNAUTHENTICATED: not authenticated: the device was revoked"
# A version before stored this text after the answer of a proxy.
FOREIGN_TEXT = "UNAUTHENTICATED: Received http2 header with status: 401"


@pytest.fixture
def ready(handheld, stand_in, new_handheld):
    """Return a function that makes a device with a complete replica at another address, and two tickets."""
    tokens = [stand_in.ticket(), stand_in.ticket()]
    handheld.follow()
    eventually(lambda: handheld.store.ticket_count(stand_in.event_id) == 2)
    handheld.close()

    def make(address: str):
        return new_handheld(address, stand_in.event_id).connect()

    return make, tokens


@contextmanager
def another_server() -> Iterator[str]:
    """Run a gRPC server without a scan service."""
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0).wait()


@contextmanager
def resetting() -> Iterator[str]:
    """Reset every TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reset() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        threading.Thread(target=reset, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def middlebox(status: int | None) -> Iterator[str]:
    box = Middlebox(status)
    yield box.address
    assert box.requests
    box.close()


@pytest.mark.parametrize(
    "network",
    [
        *(lambda status=status: middlebox(status) for status in (200, 302, 401, 403, 404, 407, 502)),
        lambda: middlebox(None),
        another_server,
        resetting,
    ],
    ids=["200", "302", "401", "403", "404", "407", "502", "RST_STREAM", "UNIMPLEMENTED", "TCP reset"],
)
def test_answer_of_a_middlebox_leaves_the_device_admitting(ready, network):
    make, tokens = ready
    with network() as address:
        device = make(address)
        assert device.state == "OFFLINE"
        assert device.scan(tokens[0]).may_pass
        device.close()
        # The next start has the same network.
        again = make(address)
        assert again.scan(tokens[1]).may_pass
        assert again.connection.status.problem
        again.close()


@pytest.mark.parametrize("code", [UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_status_without_our_error_info_is_no_refusal(ready, stand_in, server, code):
    make, tokens = ready
    stand_in.refusal, stand_in.foreign = code, True
    device = make(server.address)
    assert (device.state, device.scan(tokens[0]).may_pass) == ("OFFLINE", True)
    assert device.connection.status.problem == f"a sign-in page or proxy answers, not the service ({code.name})"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        *[(grpc.StatusCode.UNAVAILABLE, sign) for sign in refusal._TLS_PROBLEMS],  # noqa: SLF001 - every known sign
        *[(code, "") for code in sorted(refusal._FOREIGN, key=str)],  # noqa: SLF001 - as above
    ],
)
def test_the_display_has_the_space_for_every_known_problem(code, details):
    error = cast(grpc.RpcError, SimpleNamespace(code=lambda: code, details=lambda: details, trailing_metadata=tuple))
    assert len(refusal.error_text(error)) <= PROBLEM_CHARACTERS


def test_error_info_of_another_domain_is_no_refusal(ready, stand_in, server, monkeypatch):
    make, tokens = ready
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(domain="mesh.example", reason="ERROR_REASON_UNAUTHENTICATED"))
    status = status_pb2.Status(code=code_pb2.UNAUTHENTICATED, message="no mesh identity", details=[detail])
    monkeypatch.setattr(stand_in, "_abort", lambda context, _: context.abort_with_status(rpc_status.to_status(status)))
    stand_in.refusal = UNAUTHENTICATED
    assert make(server.address).scan(tokens[0]).may_pass


def test_refusal_names_what_a_person_can_do(ready, stand_in, server):
    make, tokens = ready
    stand_in.refusal = UNAUTHENTICATED
    device = make(server.address)
    assert (device.state, device.scan(tokens[0]).note) == ("REFUSED", REFUSED_NOTE)
    status = device.connection.status
    assert (status.problem, status.advice) == (
        OWN_TEXT,
        "enroll this device again with a new code, or renew its --token-file",
    )


@pytest.mark.parametrize("code", [UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_refusal_survives_a_restart_behind_a_middlebox(ready, stand_in, server, code):
    make, tokens = ready
    stand_in.refusal = code
    make(server.address).close()
    with middlebox(401) as address:
        device = make(address)
        assert (device.state, device.scan(tokens[0]).may_pass) == ("REFUSED", False)
        device.close()
    stand_in.refusal = None
    device = make(server.address)
    assert device.scan(tokens[0]).may_pass


@pytest.mark.parametrize(("text", "admits"), [(FOREIGN_TEXT, True), (OWN_TEXT, False)])
def test_wrong_mark_of_an_older_version_is_ignored(ready, stand_in, server, text, admits):
    make, tokens = ready
    device = make(server.address)
    device.store.save_setting("refused", text)
    device.close()
    server.stop()
    assert make(server.address).scan(tokens[0]).may_pass == admits


def test_refused_device_waits_up_to_a_minute_with_jitter(monkeypatch):
    waits = []

    def record(attempt: int, *, first: float, max_seconds: float) -> float:
        waits.append(min(max_seconds, first * 2**attempt))
        return 0.0

    monkeypatch.setattr(retrying, "FIRST_BACKOFF_SECONDS", 0.5)
    monkeypatch.setattr(retrying, "backoff_seconds", record)
    outcomes = iter([Outcome.LASTED, Outcome.FAILED, *[Outcome.REFUSED] * 8])

    def attempt() -> Outcome:
        outcome = next(outcomes, None)
        if outcome is None:
            thread.stop_soon()
        return outcome or Outcome.REFUSED

    thread = RetryingThread("test", attempt)
    thread.start()
    eventually(lambda: not thread.is_alive)
    assert waits == [0.05, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]


def test_renewed_token_file_ends_a_refusal(ready, stand_in, server, new_handheld, tmp_path):
    _, tokens = ready
    stand_in.credentials.clear()
    file = tmp_path / "token"
    file.write_text("old\n")
    stand_in.refusal = UNAUTHENTICATED
    device = new_handheld(server.address, stand_in.event_id, credential=Credential.of_file(file)).connect()
    assert device.state == "REFUSED"
    stand_in.refusal = None
    file.write_text("new\n")
    eventually(lambda: device.state == "ONLINE")
    assert stand_in.credentials[0] == "Bearer old"
    assert stand_in.credentials[-1] == "Bearer new"
    assert device.scan(tokens[0]).may_pass


def test_expired_token_is_replaced_without_a_refusal(stand_in, server, new_handheld, tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    device = new_handheld(server.address, stand_in.event_id, credential=Credential.of_file(file)).connect()
    file.write_text("new")
    stand_in.end_streams(UNAUTHENTICATED)
    eventually(lambda: stand_in.credentials[-1] == "Bearer new")
    assert not device.connection.is_refused()


@pytest.mark.parametrize("content", [b"", b"  \n", bytes(range(256)), "Grüße".encode(), b"two words", b"x" * 20_000])
def test_file_without_a_token_is_named(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(CredentialError, match=r"--token-file .*token: contains no access token"):
        Credential.of_file(file)


def test_last_token_stays_while_its_file_is_replaced(tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    credential = Credential.of_file(file)
    file.unlink()
    assert not credential.is_renewed()
    assert credential.metadata() == (("authorization", "Bearer old"),)
    file.write_text("new")
    assert credential.is_renewed()
