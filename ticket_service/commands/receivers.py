"""Show and enable receivers that are disabled or paused: `python -m ticket_service receivers`."""

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.delivery.store.receiver_states import ReceiverState, enable, find_states
from ticket_service.store.sessions import session
from ticketing.chassis.clock import system_clock
from ticketing.chassis.command_line import Command

Write = Callable[[str], None]


def list_receivers(url: URL, write: Write = print) -> int:
    """Write each receiver that gets no deliveries at present, and why: `receivers`."""
    with session(url) as connection:
        states = [line for state in find_states(connection) if (line := _line(state))]
    for line in states:
        write(line)
    write(f"{len(states)} receivers are disabled or paused")
    return 0


def enable_receivers(url: URL, names: Sequence[str], write: Write = print) -> int:
    """Let relays deliver to the named receivers again; return 1 if one of them was neither disabled nor paused."""
    status = 0
    with session(url) as connection:
        stopped = [state.receiver for state in find_states(connection) if _line(state)]
        for name in names:
            if enable(connection, name):
                write(f"{name} is enabled")
                continue
            status = 1
            others = f"; disabled or paused: {', '.join(stopped)}" if stopped else ""
            write(f"no receiver of the name {name} is disabled or paused{others}")
    return status


def _line(state: ReceiverState) -> str:
    if state.disabled_time is not None:
        return f"{state.receiver} is disabled since {state.disabled_time.isoformat()}: {state.cause}"
    if state.paused_until is not None and state.paused_until > system_clock():
        return f"{state.receiver} is paused until {state.paused_until.isoformat()}: {state.cause}"
    return ""


def _add_names(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="webhook, nats or mail")


COMMANDS: Final = (
    Command("receivers", "list the receivers that are disabled or paused", lambda url, _: list_receivers(url)),
    Command(
        "receivers enable",
        "deliver to receivers again",
        lambda url, given: enable_receivers(url, given.names),
        _add_names,
    ),
)
