"""When the client asks for a token, and which tokens it keeps."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.environment.access import Issuer
from ticketing.client.tokens import AsyncTokens, Tokens, token_of


def token(issuer: Issuer, seconds: float) -> str:
    return issuer.token(exp=datetime.now(UTC) + timedelta(seconds=seconds))


@pytest.mark.parametrize(("lifetime", "before"), [(300, 30), (3_600, 60)])
def test_a_jwt_is_renewed_in_the_last_tenth_or_minute(lifetime: int, before: int, issuer: Issuer) -> None:
    read = token_of(token(issuer, lifetime))
    assert read.expire_time - time.time() == pytest.approx(lifetime, abs=5)
    assert read.expire_time - read.renew_time == pytest.approx(before, abs=1)


@pytest.mark.parametrize("text", ["device_abc", "a.b", "a.!!!.c", "a.e30.c", "a.bnVsbA.c", ""])
def test_any_other_token_never_expires(text: str) -> None:
    assert token_of(text).expire_time == float("inf")


def test_one_of_many_threads_asks_for_the_token(issuer: Issuer) -> None:
    asked, answer = [], threading.Event()

    def source() -> str:
        asked.append(1)
        answer.wait(20)
        return token(issuer, 3_600)

    tokens = Tokens(source)
    with ThreadPoolExecutor(8) as threads:
        got = [threads.submit(tokens.get) for _ in range(8)]
        answer.set()
        assert len({future.result() for future in got}) == 1
    assert len(asked) == 1


class Source:
    """A source that gives one token, and then fails."""

    def __init__(self, first: str) -> None:
        self.left = [first]

    def __call__(self) -> str:
        if not self.left:
            raise ConnectionError("the issuer is down")
        return self.left.pop()


async def test_a_token_serves_until_it_expires_while_its_source_fails(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    text = token(issuer, 600)
    tokens, async_tokens = Tokens(Source(text)), AsyncTokens(Source(text))
    for passed, serves in ((0, True), (550, True), (601, False)):
        monkeypatch.setattr(time, "time", lambda passed=passed: now + passed)
        if serves:
            assert (tokens.get(), await async_tokens.get()) == (text, text)
            continue
        with pytest.raises(ConnectionError):
            tokens.get()
        with pytest.raises(ConnectionError):
            await async_tokens.get()
