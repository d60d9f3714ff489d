import pytest

from tests.environment.clock import Seconds
from ticketing.chassis import rate_limiter
from ticketing.chassis.rate_limiter import RateLimiter


def test_a_bucket_allows_a_burst_and_refills_at_its_rate() -> None:
    seconds = Seconds()
    limiter = RateLimiter(2, 3, seconds)
    for _ in range(3):
        assert not limiter.wait("a")
        limiter.take("a")
    assert limiter.wait("a").total_seconds() == 0.5
    assert not limiter.wait("b")
    seconds.now += 0.5
    assert not limiter.wait("a")
    limiter.take("a")
    limiter.take("a")
    assert limiter.wait("a").total_seconds() == 1
    for _ in range(100):
        limiter.take("a")
    assert limiter.wait("a").total_seconds() == 2
    seconds.now += 1_000
    for _ in range(3):
        limiter.take("a")
    assert limiter.wait("a")


def test_the_number_of_limiters_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limiter, "MAX_KEYS", 2)
    limiter = RateLimiter(1, 1, Seconds())
    for key in ("a", "b", "a", "c"):
        limiter.take(key)
    assert [bool(limiter.wait(key)) for key in "abc"] == [True, False, True]


def test_a_dropped_bucket_gets_no_token_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an attempt of each of a million addresses would leave a bucket behind."""
    monkeypatch.setattr(rate_limiter, "MAX_KEYS", 2)
    limiter = RateLimiter(1, 1, Seconds())
    for key in "abc":
        limiter.take(key)
    for key in "abc":
        limiter.give_back(key)
    assert len(vars(limiter)["_left"]) == 2
