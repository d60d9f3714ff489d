"""Show and enable receivers that are disabled or paused: `python -m ticket_service receivers`."""

from collections.abc import Callable, Sequence

from sqlalchemy.engine import URL

from ticket_service.delivery.store.receiver_states import ReceiverState, enable, find_states
from ticket_service.store.sessions import session
from ticketing.chassis.clock import system_clock

Write = Callable[[str], None]


def list_receivers(url: URL, write: Write = print) -> int:
    """Write each receiver that gets no deliveries at present, and why: `receivers`."""
    with session(url) as connection:
        states = [line for state in find_states(connection) if (line := _line(state))]
    for line in states:
        write(line)
    write(f"{len(states)} receivers are disabled or paused")
    return 0


def enable_receivers(url: URL, words: Sequence[str], write: Write = print) -> int:
    """Let relays deliver to the named receivers again: `receivers enable NAME ...`."""
    if len(words) < 2 or words[0] != "enable":  # noqa: PLR2004 - the word and one name
        write("say `receivers`, or `receivers enable NAME ...`")
        return 2
    status = 0
    with session(url) as connection:
        for name in words[1:]:
            is_enabled = enable(connection, name)
            write(f"{name} {'is enabled' if is_enabled else 'was neither disabled nor paused'}")
            status = status if is_enabled else 1
    return status


def _line(state: ReceiverState) -> str:
    if state.disabled_time is not None:
        return f"{state.receiver} is disabled since {state.disabled_time.isoformat()}: {state.cause}"
    if state.paused_until is not None and state.paused_until > system_clock():
        return f"{state.receiver} is paused until {state.paused_until.isoformat()}: {state.cause}"
    return ""
