"""What devices are told so that they can decide alone, and how far they have been told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ticketing.admission.tickets import Event, Ticket
from ticketing.admission.tokens import PublicKey


@dataclass(frozen=True, slots=True)
class Cursor:
    """All that transactions older than `horizon` have changed has been told."""

    # Of the horizons; another one means that they began anew.
    epoch: UUID
    horizon: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.horizon}"


def read_cursor(text: str) -> Cursor | None:
    """Read what `str` made; None for the empty one, and for what was never one."""
    epoch, _, horizon = text.partition(":")
    # As many digits as the largest transaction has; int() would also take signs and blanks.
    if not (horizon.isascii() and horizon.isdigit() and len(horizon) <= 19):  # noqa: PLR2004 - digits of 2**63
        return None
    try:
        return Cursor(UUID(epoch), int(horizon))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all of an event's tickets."""

    event: Event
    keys: Mapping[int, PublicKey]


@dataclass(frozen=True, slots=True)
class Changes:
    """The present state of what has changed."""

    rules: Rules
    # Each with the transaction that changed it.
    tickets: Sequence[tuple[Ticket, int]]
    cursor: Cursor
    # From the beginning.
    restart: bool
