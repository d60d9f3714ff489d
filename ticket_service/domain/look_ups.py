"""Look-ups at gates: the matching of a typed text, and the masked description of a holder."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ticketing.chassis.callers import Caller
from ticketing.chassis.texts import without_controls

# A response has at most this number of tickets; a longer text finds fewer.
MAX_FOUND: Final = 20
_PURCHASE_END: Final = re.compile(r"[0-9a-f-]{6,36}")
# A shown part of a name; names have no bound but that of the metadata.
_MAX_SHOWN: Final = 30
_SHOWN_OF_ADDRESS: Final = 2


@dataclass(frozen=True, slots=True)
class LookUp:
    """A look-up of a gate in one event."""

    event_id: UUID
    text: str
    # The device or person at the gate, for the record.
    caller: Caller
    location: str


@dataclass(frozen=True, slots=True)
class Search:
    """The forms of a text that the columns of a holder are compared with, in lower case."""

    # The text itself, which begins an address.
    text: str
    # The text as typed, which may be a user_id.
    exact: str
    # The end of a purchase_id; empty where the text cannot be one.
    purchase_end: str
    # Each word of a name has to begin with one of these words; once composed (NFC), once decomposed (NFD).
    composed_words: Sequence[str]
    decomposed_words: Sequence[str]


@dataclass(frozen=True, slots=True)
class HeldTicket:
    """A ticket that was found, with the name and address of its holder; each may be empty."""

    ticket_id: UUID
    issue: int
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class FoundTickets:
    """The tickets found: unused ones first, then the newest."""

    tickets: Sequence[HeldTicket]
    # Further tickets match.
    more: bool


def read_search(text: str) -> Search:
    """Read a text of a look-up."""
    exact = " ".join(unicodedata.normalize("NFC", text).split())
    lower = exact.lower()
    return Search(
        text=lower,
        exact=exact,
        purchase_end=lower if _PURCHASE_END.fullmatch(lower) else "",
        composed_words=_words(lower),
        decomposed_words=_words(unicodedata.normalize("NFD", lower)),
    )


def _words(text: str) -> Sequence[str]:
    # A text of dashes alone has no words; it is its own, which no name contains after the same replacement.
    return text.replace("-", " ").split() or [text]


def describe_holder(ticket: HeldTicket) -> str:
    """Describe a holder so that a person at the gate can confirm who stands there, and learns no more."""
    return ", ".join(part for part in (_mask_name(ticket.name), _mask_address(ticket.email)) if part)


def shown_name(name: str) -> str:
    """Return a name without line breaks and other characters that a terminal obeys, each blank as one space."""
    return " ".join(without_controls(name).split())


def _mask_name(name: str) -> str:
    """Return the first word of a name and the initials of the others."""
    first, *others = shown_name(name).split() or [""]
    return " ".join([first[:_MAX_SHOWN], *(f"{word[0]}…" for word in others[:3])])


def _mask_address(email: str) -> str:
    local, at, domain = email.rpartition("@")
    return f"{local[:_SHOWN_OF_ADDRESS]}…@{domain}" if at else ""
