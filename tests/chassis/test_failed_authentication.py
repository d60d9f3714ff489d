"""Failures are counted by address, and only those of unknown credentials."""

import asyncio
import logging

import pytest

from ticketing.chassis.failed_authentication import BURST_SECONDS, MAX_LINES, FailedAuthentications
from ticketing.chassis.failures import OVERLOADED, Failure, dependency_unavailable, unauthenticated

PEER, OTHER = "ipv4:192.0.2.7:1", "ipv4:192.0.2.8:1"


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


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


def test_the_log_names_an_address_once_a_minute(
    failures: FailedAuthentications, seconds: Seconds, caplog: pytest.LogCaptureFixture
) -> None:
    def lines() -> list[tuple[str, str]]:
        return [(record.address, record.cause) for record in caplog.records]  # type: ignore[attr-defined]  # extra fields

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            failures.record(PEER, unauthenticated("the device is not known"))
        assert lines() == [("192.0.2.7", "the device is not known")]
        seconds.now += 60
        failures.record(PEER, unauthenticated("the token has expired"))
        assert lines()[1:] == [("192.0.2.7", "the token has expired")]


def test_many_addresses_write_few_lines(failures: FailedAuthentications, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(50):
            failures.record(f"ipv4:192.0.2.{number}:1", unauthenticated("the device is not known"))
    assert len(caplog.records) == MAX_LINES
