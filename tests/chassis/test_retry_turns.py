from itertools import pairwise

import pytest

from tests.environment.clock import Seconds
from ticketing.chassis import retry_turns
from ticketing.chassis.failures import Failure
from ticketing.chassis.limits import CallLimiter, Limits
from ticketing.chassis.retry_turns import RetryTurns


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def turns(seconds: Seconds) -> RetryTurns:
    return RetryTurns(seconds)


def waits(turns: RetryTurns, count: int) -> list[float]:
    return [turns.take("a").total_seconds() for _ in range(count)]


def test_a_single_refusal_may_be_repeated_after_a_second(seconds, turns):
    assert waits(turns, 1) == [1.0]
    seconds.now += 10
    assert waits(turns, 1) == [1.0]


def test_callers_refused_together_return_one_after_the_other(turns):
    found = waits(turns, 1_001)
    assert found[0] == 1.0
    assert all(later - sooner == pytest.approx(0.004) for sooner, later in pairwise(found))
    assert found[-1] == pytest.approx(5.0)


def test_later_refusals_return_after_the_earlier_ones(seconds, turns):
    waits(turns, 1_000)
    seconds.now += 2
    assert waits(turns, 1) == [pytest.approx(3.0)]


def test_nobody_waits_longer_than_half_a_minute(seconds, turns):
    assert max(waits(turns, 20_000)) == 30.0
    seconds.now += 1
    assert waits(turns, 2) == [pytest.approx(29.004), pytest.approx(29.008)]


def test_a_caller_delays_no_turn_of_another(turns):
    waits(turns, 20_000)
    assert turns.take("b").total_seconds() == 1.0


def test_the_caller_refused_longest_ago_is_forgotten_first(turns, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry_turns, "MAX_CALLERS", 2)
    for caller in ("a", "b", "a", "c"):
        turns.take(caller)
    assert turns.take("b").total_seconds() == 1.0
    assert turns.take("c").total_seconds() == pytest.approx(1.004)


def test_each_limit_gives_turns_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retry_turns, "REFUSALS_PER_SECOND", 1)
    limiter = CallLimiter(Limits(calls=0, streams=0))
    found = []
    for attempt in (limiter.call, limiter.call, limiter.stream):
        with pytest.raises(Failure) as caught, attempt(None, ""):
            pass
        assert caught.value.retry_after is not None
        found.append(round(caught.value.retry_after.total_seconds()))
    assert found == [1, 2, 1]
