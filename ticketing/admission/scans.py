"""Scans: what a device asks at a gate, and what is recorded of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final
from uuid import UUID

from ticketing.admission.codes import Codes, covered
from ticketing.admission.tickets import Entry, TicketType
from ticketing.admission.tokens import Damaged, Token

MAX_CODE: Final = 4_096
# Of what was read, where it is no code of a ticket.
MAX_RECORDED: Final = 200
FINGERPRINT_BYTES: Final = 16


class ScanType(StrEnum):
    """What passing the gate means."""

    CHECK_IN = "CHECK_IN"
    CHECK_OUT = "CHECK_OUT"
    ACCESS = "ACCESS"


class Verdict(StrEnum):
    """The answer that the gate shows."""

    ADMITTED = "ADMITTED"
    DENIED = "DENIED"


class DenialReason(StrEnum):
    """Why a scan was denied; the names of the contract."""

    TICKET_NOT_FOUND = "TICKET_NOT_FOUND"
    INVALID_SIGNATURE = "INVALID_SIGNATURE"
    WRONG_EVENT = "WRONG_EVENT"
    EVENT_NOT_OPEN = "EVENT_NOT_OPEN"
    EVENT_CANCELLED = "EVENT_CANCELLED"
    NOT_YET_VALID = "NOT_YET_VALID"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"
    BLOCKED = "BLOCKED"
    SUPERSEDED = "SUPERSEDED"
    ALREADY_CHECKED_IN = "ALREADY_CHECKED_IN"
    NOT_CHECKED_IN = "NOT_CHECKED_IN"
    TICKET_TYPE_NOT_ALLOWED = "TICKET_TYPE_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class Gate:
    """Where scans are made."""

    event_id: UUID
    location: str
    # Empty: all.
    allowed_types: frozenset[TicketType] = frozenset()


@dataclass(frozen=True, slots=True)
class Offline:
    """What a device decided alone, and when, by the clock of this service."""

    verdict: Verdict
    denial_reason: DenialReason | None
    scan_time: datetime
    # None: the person passed.
    annul_time: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a device asks."""

    scan_id: UUID
    gate: Gate
    # As read.
    text: str
    # What the text is: a token, one that is damaged, the digest of a typed code, or nothing known here.
    credential: Token | Damaged | bytes | None
    scan_type: ScanType
    scanner_user_id: str
    # Whose event it must be; None: anybody's.
    organizer_id: str | None
    metadata: dict[str, object]
    # Empty where no gate device of ours asks.
    device_id: str = ""
    # None: it is to be decided here.
    offline: Offline | None = None

    def fingerprint(self) -> bytes:
        """Return a digest of everything that makes it this scan and no other."""
        where = _fingerprinted(self.gate.event_id, self.scan_type, self.device_id or self.scanner_user_id)
        return sha256(f"{where}{len(self.text)}:{self.text}".encode()).digest()[:FINGERPRINT_BYTES]


@lru_cache(10_000)
def _fingerprinted(event_id: UUID, scan_type: ScanType, who: str) -> str:
    """Return what is the same in one scan after the other of a device; lengths, so that no two divisions are equal."""
    return "".join(f"{len(part)}:{part}\0" for part in (str(event_id), scan_type, who))


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan, as recorded."""

    scan_id: UUID
    # The gate's event, under which it is kept.
    gate_event_id: UUID
    # Of everything that makes it this scan and no other.
    fingerprint: bytes
    # The ticket's once known, else what was read; covered while it is stored.
    code: str
    scan_type: ScanType
    verdict: Verdict
    denial_reason: DenialReason | None
    # The ticket and its event, once known.
    ticket_id: UUID | None
    event_id: UUID | None
    ticket_type: TicketType | None
    scan_time: datetime
    record_time: datetime
    location: str
    scanner_user_id: str
    metadata: dict[str, object]
    previous: Entry | None = None
    device_id: str = ""
    offline: bool = False
    annul_time: datetime | None = None
    # The kind of incident that the rules make of it; None: they have nothing against it.
    violation: str | None = None
    # Of the ticket that was shown, once known: its code is derived of it again.
    issue: int | None = None


@dataclass(frozen=True, slots=True)
class ScanQuery:
    """Which recorded scans to list."""

    event_id: UUID
    # Whose event it must be; None: anybody's.
    organizer_id: str | None
    ticket_id: UUID | None
    device_id: str
    verdict: Verdict | None
    code: str
    size: int
    # Where the page before ended.
    after: tuple[datetime, UUID] | None


def revealed(scan: Scan, codes: Codes) -> Scan:
    """Return a scan that was stored, with the whole code of its ticket."""
    if scan.ticket_id is None or scan.issue is None:
        return scan
    return replace(scan, code=codes.code(scan.ticket_id, scan.issue))


def recorded_text(text: str) -> str:
    """Return what was read so that it can be stored and shown: cut, codes covered, and escaped where it could not.

    It may be genuine and only not known here yet; no record of scans is to open a gate.
    """
    text = covered(text[:MAX_CODE])[:MAX_RECORDED]
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
