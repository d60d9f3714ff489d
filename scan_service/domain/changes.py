"""The changes that gate devices follow in order to decide offline, and the cursor that records their position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ticketing.admission.tickets import Event, Ticket
from ticketing.admission.tokens import PublicKey


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the changes: a device has all changes of transactions older than `horizon`."""

    # The epoch of the transaction ids; in another epoch, the ids started over.
    epoch: UUID
    horizon: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.horizon}"


def read_cursor(text: str) -> Cursor | None:
    """Read the text of a cursor; return None for an empty or malformed text."""
    epoch, _, horizon = text.partition(":")
    # The largest transaction id has 19 digits; int() would also accept signs and blanks.
    if not (horizon.isascii() and horizon.isdigit() and len(horizon) <= 19):  # noqa: PLR2004 - digits of 2**63
        return None
    try:
        return Cursor(UUID(epoch), int(horizon))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class GateRules:
    """The conditions that all tickets of an event share, and the keys that verify tokens."""

    event: Event
    keys: Mapping[int, PublicKey]


@dataclass(frozen=True, slots=True)
class Changes:
    """The present state of everything that changed after a cursor."""

    rules: GateRules
    # Each ticket with the transaction that changed it.
    tickets: Sequence[tuple[Ticket, int]]
    cursor: Cursor
    # The changes start from the beginning: the device clears its replica first.
    restart: bool
