import pytest

from ticketing.chassis import limits
from ticketing.chassis.authentication import PEER, Caller, Role
from ticketing.chassis.failures import OVERLOADED, Failure
from ticketing.chassis.limits import Buckets, Limits, Throttle

ALICE, BOB = Caller("alice", frozenset({Role.USER})), Caller("bob", frozenset({Role.USER}))
SHOP = Caller("shop", frozenset({Role.SERVICE}))
DEVICE = Caller("alice", frozenset({Role.DEVICE}))


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_burst_and_is_refilled_steadily() -> None:
    seconds = Seconds()
    buckets = Buckets(2, 3, seconds)
    for _ in range(3):
        assert not buckets.wait("a")
        buckets.take("a")
    assert buckets.wait("a").total_seconds() == 0.5
    assert not buckets.wait("b")
    seconds.now += 0.5
    assert not buckets.wait("a")
    buckets.take("a")
    buckets.take("a")
    assert buckets.wait("a").total_seconds() == 1
    for _ in range(100):
        buckets.take("a")
    assert buckets.wait("a").total_seconds() == 2
    seconds.now += 1_000
    for _ in range(3):
        buckets.take("a")
    assert buckets.wait("a")


def test_memory_for_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REMEMBERED", 2)
    buckets = Buckets(1, 1, Seconds())
    for key in ("a", "b", "a", "c"):
        buckets.take(key)
    assert [bool(buckets.wait(key)) for key in "abc"] == [True, False, True]


def refused(throttle: Throttle, caller: Caller | None, address: str = "ipv4:1.2.3.4:5") -> str:
    with pytest.raises(Failure) as caught, throttle.call(caller, address):
        pass
    assert caught.value.reason == OVERLOADED
    assert caught.value.retry_after
    return caught.value.message


def make(throttle: Throttle, caller: Caller | None, address: str = "ipv4:1.2.3.4:5") -> None:
    with throttle.call(caller, address):
        pass


def test_a_caller_who_calls_too_often_is_refused_and_nobody_else() -> None:
    throttle = Throttle(Limits(calls_per_second=1))
    for caller in (ALICE, DEVICE, None):
        make(throttle, caller)
        make(throttle, caller)
        assert "calls of one caller" in refused(throttle, caller)
    # Another port is the same machine.
    assert refused(throttle, None, "ipv4:1.2.3.4:6")
    make(throttle, None, "ipv4:1.2.3.5:5")
    make(throttle, BOB)
    for _ in range(9):
        make(throttle, SHOP)
        make(throttle, PEER)


def test_past_the_most_calls_at_once_the_other_service_alone_is_answered() -> None:
    throttle = Throttle(Limits(calls=1))
    with throttle.call(ALICE, ""):
        for caller in (BOB, SHOP, None):
            assert refused(throttle, caller).endswith(": calls")
        make(throttle, PEER)
    make(throttle, BOB)


@pytest.mark.parametrize(("caller", "most"), [(ALICE, 3), (DEVICE, 2)])
def test_a_caller_may_have_so_many_streams_open(caller: Caller, most: int) -> None:
    throttle = Throttle(Limits(streams=3, device_streams=2))
    held = [throttle.stream(caller, "") for _ in range(most)]
    for stream in held:
        stream.__enter__()
    with pytest.raises(Failure, match="streams of one caller"), throttle.stream(caller, ""):
        pass
    with throttle.stream(BOB, ""):
        pass
    for stream in held:
        stream.__exit__(None, None, None)
    with throttle.stream(caller, ""):
        pass
