"""Statements about receivers that are disabled or paused."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ticket_service.store.tables import receiver_states

_DISABLE: Final = sa.text("""
    INSERT INTO receiver_states (receiver, disabled_time, cause) VALUES (:receiver, :now, :cause)
    ON CONFLICT (receiver) DO UPDATE SET disabled_time = :now, cause = :cause
        WHERE receiver_states.disabled_time IS NULL
""")
_PAUSE: Final = sa.text("""
    INSERT INTO receiver_states (receiver, paused_until, cause) VALUES (:receiver, :until, :cause)
    ON CONFLICT (receiver) DO UPDATE
        SET paused_until = greatest(receiver_states.paused_until, :until),
            cause = CASE WHEN receiver_states.disabled_time IS NULL THEN :cause ELSE receiver_states.cause END
""")


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """A receiver that is or was disabled or paused."""

    receiver: str
    disabled_time: datetime | None
    paused_until: datetime | None
    cause: str


def find_states(connection: Connection) -> list[ReceiverState]:
    """Read the states of all receivers that were ever disabled or paused and not enabled since."""
    found = connection.execute(sa.select(receiver_states).order_by(receiver_states.c.receiver))
    return [ReceiverState(**row._asdict()) for row in found]


def takes_deliveries(connection: Connection, receiver: str, now: datetime) -> bool:
    """Return whether a receiver is neither disabled nor paused."""
    query = sa.select(receiver_states).where(receiver_states.c.receiver == receiver)
    state = connection.execute(query).one_or_none()
    return state is None or (state.disabled_time is None and (state.paused_until is None or state.paused_until <= now))


def disable(connection: Connection, receiver: str, now: datetime, cause: str) -> bool:
    """Store that a receiver is gone; return False if it was disabled before."""
    return connection.execute(_DISABLE, {"receiver": receiver, "now": now, "cause": cause}).rowcount > 0


def pause(connection: Connection, receiver: str, until: datetime, cause: str) -> None:
    """Store that a receiver asked for no deliveries before a time; an earlier pause is never shortened."""
    connection.execute(_PAUSE, {"receiver": receiver, "until": until, "cause": cause})


def enable(connection: Connection, receiver: str) -> bool:
    """Let relays deliver to a receiver again; return False if it was neither disabled nor paused."""
    return connection.execute(sa.delete(receiver_states).where(receiver_states.c.receiver == receiver)).rowcount > 0
