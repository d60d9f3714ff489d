"""The changes that gate devices follow in order to decide offline, and the cursor that records their position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from scan_service.domain.write_ahead_log import LogPlace, ServerLog
from ticketing.admission.tickets import Event, Ticket
from ticketing.admission.tokens import PublicKey

# A changed row: the transaction that changed it, and the ticket.
Row = tuple[int, UUID]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in the changes: a device has all changes of transactions older than `horizon`.

    Between the pages of many changes, a device has only those up to `row`, in the order of transactions and tickets.
    Every row that changes meanwhile moves behind that position or is read again from `horizon` on.
    """

    # The epoch of the transaction ids; in another epoch, the ids started over.
    epoch: UUID
    horizon: int
    # The last row of the page; None: no further page follows.
    row: Row | None = None
    # The place at which the changes were read; None: an earlier version or a standby read them.
    place: LogPlace | None = None

    @property
    def latest(self) -> int:
        """Return the latest transaction that the cursor names."""
        return self.horizon if self.row is None else max(self.horizon, self.row[0])

    def __str__(self) -> str:
        row = "" if self.row is None else f":{self.row[0]}:{self.row[1]}"
        place = "" if self.place is None else f"@{self.place}"
        return f"{self.epoch}:{self.horizon}{row}{place}"


def read_cursor(text: str) -> Cursor | None:
    """Read the text of a cursor; return None for an empty or malformed text."""
    position, at, place = text.partition("@")
    epoch, *numbers = position.split(":")
    places = place.split(".") if at else []
    if len(numbers) not in {1, 3} or len(places) not in {0, 2}:
        return None
    if not all(_is_number(number) for number in [*numbers[:2], *places]):
        return None
    try:
        row = None if len(numbers) == 1 else (int(numbers[1]), UUID(numbers[2]))
        read_at = LogPlace(int(places[0]), int(places[1])) if places else None
        return Cursor(UUID(epoch), int(numbers[0]), row, read_at)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    # The largest transaction id or position has 19 digits; int() would also accept signs and blanks.
    return text.isascii() and text.isdigit() and len(text) <= 19  # noqa: PLR2004 - digits of 2**63


@dataclass(frozen=True, slots=True)
class GateRules:
    """The conditions that all tickets of an event share, and the keys that verify tokens."""

    event: Event
    keys: Mapping[int, PublicKey]


@dataclass(frozen=True, slots=True)
class Changes:
    """The present state of everything that changed after a cursor, or of its first page."""

    rules: GateRules
    # Each ticket with the transaction that changed it.
    tickets: Sequence[tuple[Ticket, int]]
    cursor: Cursor
    log: ServerLog
    # The changes start from the beginning: the device clears its replica first.
    restart: bool
    # The cursor names a transaction of this epoch that the database has not reached: the database has lost commits.
    is_ahead: bool = False
