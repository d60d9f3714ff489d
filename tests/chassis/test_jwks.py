import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from tests.environment.waiting import until
from ticketing.chassis import jwks
from ticketing.chassis.failures import DEPENDENCY_UNAVAILABLE, Failure
from ticketing.chassis.jwks import (
    MAX_BYTES,
    MIN_FETCH_INTERVAL,
    JwksFile,
    JwksUrl,
    KeySet,
    parse_key_set,
)


def key_set(*key_ids: str) -> bytes:
    key = OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True)
    return json.dumps({"keys": [{**key, "kid": key_id, "alg": "EdDSA"} for key_id in key_ids]}).encode()


class Source:
    """A source of a key set that counts reads, and that a test can block or make fail."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0
        self.down = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def read(self) -> bytes:
        self.asked += 1
        self.may_answer.wait(10)
        if self.down:
            raise OSError("the source is down")
        return self.content


class Setting:
    def __init__(self, content: bytes) -> None:
        self.source = Source(content)
        self.now = datetime(2026, 5, 1, tzinfo=UTC)
        self.keys = KeySet(self.source.read, lambda: self.now)

    async def has(self, key_id: str) -> bool:
        return await self.keys.key(key_id) is not None

    async def refreshed(self) -> Exception | None:
        """Read the set again, as the background task does; return the error that the task reports."""
        try:
            async with asyncio.timeout(10):
                await self.keys.sweep()
        except (OSError, ValueError) as error:
            return error
        return None


async def test_keys_are_read_once_and_cached() -> None:
    setting = Setting(key_set("a"))
    assert await setting.has("a")
    assert await setting.has("a")
    assert setting.source.asked == 1


async def test_an_unknown_key_causes_a_read_but_not_at_every_call() -> None:
    setting = Setting(key_set("a"))
    assert await setting.has("a")
    setting.source.content = key_set("b")
    assert not await setting.has("b")
    setting.now += MIN_FETCH_INTERVAL
    assert await setting.has("b")
    assert not await setting.has("a")
    assert setting.source.asked == 2


async def test_concurrent_calls_with_unknown_keys_share_one_read() -> None:
    setting = Setting(key_set("a"))
    assert await asyncio.gather(*(setting.has("a") for _ in range(20))) == [True] * 20
    assert setting.source.asked == 1


async def test_keys_stay_valid_while_the_source_is_down_or_invalid() -> None:
    setting = Setting(key_set("a"))
    assert await setting.has("a")
    setting.source.down = True
    assert isinstance(await setting.refreshed(), OSError)
    setting.source.down, setting.source.content = False, b"{"
    assert isinstance(await setting.refreshed(), ValueError)
    assert setting.source.asked == 3
    assert await setting.has("a")
    assert setting.keys.version == 1


async def test_known_keys_are_refreshed_in_the_background() -> None:
    setting = Setting(key_set("a"))
    assert await setting.has("a")
    setting.source.content = key_set("b")
    setting.source.may_answer.clear()
    refreshing = asyncio.create_task(setting.refreshed())
    await until(lambda: setting.source.asked == 2)
    # A call with a known key does not wait for the refresh.
    assert await setting.has("a")
    setting.source.may_answer.set()
    await refreshing
    assert not await setting.has("a")


async def test_a_hanging_source_delays_callers_only_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.05)
    setting = Setting(key_set("a"))
    setting.source.may_answer.clear()
    with pytest.raises(Failure):
        await setting.has("a")
    setting.source.may_answer.set()
    await setting.refreshed()
    assert await setting.has("a")


async def test_without_keys_the_dependency_is_unavailable() -> None:
    """UNAUTHENTICATED would make a gate stop for good."""
    setting = Setting(key_set("a"))
    setting.source.down = True
    with pytest.raises(Failure) as caught:
        await setting.has("a")
    assert caught.value.reason == DEPENDENCY_UNAVAILABLE
    setting.source.down = False
    setting.now += MIN_FETCH_INTERVAL
    assert await setting.has("a")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"keys": 1}', b'{"keys": []}', b"\xff", b"[" * 100_000])
def test_invalid_key_sets_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_key_set(content)


def test_symmetric_and_nameless_keys_are_ignored() -> None:
    """With a symmetric key in the set every reader of the set could sign; HMAC also enables key confusion."""
    secret = {"kty": "oct", "kid": "hmac", "alg": "HS256", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}
    nameless = {key: value for key, value in json.loads(key_set("a"))["keys"][0].items() if key != "kid"}
    good = json.loads(key_set("a"))["keys"][0]
    assert parse_key_set(json.dumps({"keys": [secret, nameless, good]}).encode()).keys() == {"a"}


def test_a_file_above_the_size_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(b"x" * (MAX_BYTES + 1))
    with pytest.raises(ValueError, match="larger"):
        JwksFile(path).read()


@pytest.mark.parametrize("url", ["http://example.org/jwks", "file:///etc/passwd", "ftp://example.org", "https://", "x"])
def test_only_https_and_loopback_urls_are_accepted(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        JwksUrl(url)


class Handler(BaseHTTPRequestHandler):
    """A web server whose answers depend on the path."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/keys")
            self.end_headers()
            return
        content = key_set("a") if self.path == "/keys" else b"x" * (MAX_BYTES + 1)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_read_within_a_size_limit_and_without_redirects(address: str) -> None:
    assert parse_key_set(JwksUrl(f"{address}/keys").read()).keys() == {"a"}
    with pytest.raises(ValueError, match="larger"):
        JwksUrl(f"{address}/large").read()
    with pytest.raises(OSError, match="302") as refused:
        JwksUrl(f"{address}/moved").read()
    refused.value.close()  # type: ignore[attr-defined]  # urllib's error is a response too


def test_a_slow_url_times_out(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 100.0])
    # The clock is patched in this module only, because the threads of the server read the clock too.
    monkeypatch.setattr(jwks, "monotonic", lambda: next(times))
    with pytest.raises(TimeoutError, match="slow"):
        JwksUrl(f"{address}/keys").read()
