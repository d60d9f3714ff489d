"""Failures are counted by address, and only those of unknown credentials."""

import asyncio
import logging

import pytest

from tests.environment.clock import Seconds
from ticketing.chassis import failed_authentication
from ticketing.chassis.failed_authentication import BURST_SECONDS, DELAY_SECONDS, MAX_LINES, FailedAuthentications
from ticketing.chassis.failures import OVERLOADED, Failure, dependency_unavailable, unauthenticated

PEER, OTHER = "ipv4:192.0.2.7:1", "ipv4:192.0.2.8:1"


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def failures(seconds: Seconds) -> FailedAuthentications:
    """Return counters that allow two failures a second, and a burst of thirty."""
    return FailedAuthentications(2, seconds)


def fail(failures: FailedAuthentications, peer: str = PEER, error: BaseException | None = None) -> str:
    """Fail an attempt; return the reason that the caller gets."""
    try:
        with failures.attempt(peer):
            raise error or unauthenticated("the token does not verify")
    except Failure as failure:
        return failure.reason


def exhaust(failures: FailedAuthentications) -> None:
    for _ in range(2 * BURST_SECONDS):
        assert fail(failures) == "UNAUTHENTICATED"


def test_an_address_with_many_failures_waits(failures: FailedAuthentications, seconds: Seconds) -> None:
    exhaust(failures)
    with pytest.raises(Failure) as caught, failures.attempt("ipv4:192.0.2.7:2"):
        pytest.fail("the work has begun")
    # No refusal: a device behind this address may be genuine, and tries again.
    assert caught.value.reason == OVERLOADED
    assert caught.value.retry_after
    assert fail(failures, OTHER) == "UNAUTHENTICATED"
    seconds.now += 0.5
    assert fail(failures) == "UNAUTHENTICATED"


def test_good_credentials_and_outages_are_not_counted(failures: FailedAuthentications) -> None:
    for _ in range(100):
        with failures.attempt(PEER):
            pass
        assert fail(failures, error=dependency_unavailable("database")) == "DEPENDENCY_UNAVAILABLE"
    exhaust(failures)


def test_attempts_under_way_count(failures: FailedAuthentications) -> None:
    """Otherwise a thousand concurrent calls would all pass before the first one fails."""
    under_way = [failures.attempt(PEER) for _ in range(2 * BURST_SECONDS)]
    for attempt in under_way:
        attempt.__enter__()
    assert fail(failures) == OVERLOADED
    for attempt in under_way:
        attempt.__exit__(None, None, None)
    assert fail(failures) == "UNAUTHENTICATED"


def test_a_caller_that_leaves_early_is_counted(failures: FailedAuthentications) -> None:
    for _ in range(2 * BURST_SECONDS):
        with pytest.raises(asyncio.CancelledError):
            fail(failures, error=asyncio.CancelledError())
    assert fail(failures) == OVERLOADED


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the delays of answers instead of waiting."""
    made: list[float] = []

    async def record(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", record)
    return made


UNKNOWN = unauthenticated("the device is not known")


async def test_the_answers_to_many_refusals_are_delayed(
    failures: FailedAuthentications, seconds: Seconds, delays: list[float]
) -> None:
    """Also those that cost no look-up, such as calls without a credential."""
    for _ in range(2 * BURST_SECONDS):
        assert not delays
        await failures.refuse(PEER, UNKNOWN)
    await failures.refuse(PEER, UNKNOWN)
    assert delays[-1] == DELAY_SECONDS
    del delays[:]
    await failures.refuse(OTHER, UNKNOWN)
    seconds.now += 1_000
    await failures.refuse(PEER, UNKNOWN)
    assert not delays


async def test_the_number_of_delayed_answers_is_bounded(
    failures: FailedAuthentications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_authentication, "MAX_DELAYED", 3)
    monkeypatch.setattr(failed_authentication, "DELAY_SECONDS", 3600)
    for _ in range(2 * BURST_SECONDS):
        await failures.refuse(PEER, UNKNOWN)
    delayed = [asyncio.create_task(failures.refuse(PEER, UNKNOWN)) for _ in range(3)]
    await asyncio.sleep(0)
    await failures.refuse(PEER, UNKNOWN)
    for task in delayed:
        assert not task.done()
        task.cancel()


async def test_an_outage_is_no_refusal(failures: FailedAuthentications, delays: list[float]) -> None:
    for _ in range(100):
        await failures.refuse(PEER, dependency_unavailable("database"))
    assert not delays


async def test_the_log_names_an_address_once_a_minute(
    failures: FailedAuthentications, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[tuple[str, str]]:
        return [(record.address, record.cause) for record in caplog.records]  # type: ignore[attr-defined]  # extra fields

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await failures.refuse(PEER, unauthenticated("the device is not known"))
        assert lines() == [("192.0.2.7", "the device is not known")]
        seconds.now += 60
        await failures.refuse(PEER, unauthenticated("the token has expired"))
        assert lines()[1:] == [("192.0.2.7", "the token has expired")]


async def test_many_addresses_write_few_lines(
    failures: FailedAuthentications, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(50):
            await failures.refuse(f"ipv4:192.0.2.{number}:1", unauthenticated("the device is not known"))
    assert len(caplog.records) == MAX_LINES
