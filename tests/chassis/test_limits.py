import pytest

from ticketing.chassis.callers import PEER, Caller, Role
from ticketing.chassis.failures import OVERLOADED, Failure
from ticketing.chassis.limits import CallLimiter, Limits

ALICE, BOB = Caller("alice", frozenset({Role.USER})), Caller("bob", frozenset({Role.USER}))
SHOP = Caller("shop", frozenset({Role.SERVICE}))
DEVICE = Caller("alice", frozenset({Role.DEVICE}))


def refused(limiter: CallLimiter, caller: Caller | None, address: str = "ipv4:1.2.3.4:5") -> str:
    with pytest.raises(Failure) as caught, limiter.call(caller, address):
        pass
    assert caught.value.reason == OVERLOADED
    assert caught.value.retry_after
    return caught.value.message


def make(limiter: CallLimiter, caller: Caller | None, address: str = "ipv4:1.2.3.4:5") -> None:
    with limiter.call(caller, address):
        pass


def test_a_caller_above_its_rate_is_refused_and_others_served() -> None:
    limiter = CallLimiter(Limits(calls_per_second=1))
    for caller in (ALICE, DEVICE, None):
        make(limiter, caller)
        make(limiter, caller)
        assert "calls of one caller" in refused(limiter, caller)
    # Another port of the same machine counts as the same caller.
    assert refused(limiter, None, "ipv4:1.2.3.4:6")
    make(limiter, None, "ipv4:1.2.3.5:5")
    make(limiter, BOB)
    for _ in range(9):
        make(limiter, SHOP)
        make(limiter, PEER)


def test_above_the_limit_of_calls_only_the_peer_is_served() -> None:
    limiter = CallLimiter(Limits(calls=1))
    with limiter.call(ALICE, ""):
        for caller in (BOB, SHOP, None):
            assert refused(limiter, caller).endswith(": calls")
        make(limiter, PEER)
    make(limiter, BOB)


@pytest.mark.parametrize(("caller", "maximum"), [(ALICE, 3), (DEVICE, 2)])
def test_open_streams_of_one_caller_are_bounded(caller: Caller, maximum: int) -> None:
    limiter = CallLimiter(Limits(streams=3, device_streams=2))
    streams = [limiter.stream(caller, "") for _ in range(maximum)]
    for stream in streams:
        stream.__enter__()
    with pytest.raises(Failure, match="streams of one caller"), limiter.stream(caller, ""):
        pass
    with limiter.stream(BOB, ""):
        pass
    for stream in streams:
        stream.__exit__(None, None, None)
    with limiter.stream(caller, ""):
        pass
