"""Scans: the request that a device makes at a gate, and the record of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final
from uuid import UUID, uuid5

from ticketing.admission.codes import Codes
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.records import record
from ticketing.admission.tickets import CheckIn, TicketType
from ticketing.admission.tokens import DamagedToken, Token

MAX_CODE: Final = 4_096
FINGERPRINT_BYTES: Final = 16
# The fingerprint of a record without an attempt: a check-in that was taken back after a restore of the database.
NO_FINGERPRINT: Final = bytes(FINGERPRINT_BYTES)


class ScanType(StrEnum):
    """The kind of passage that a person asks for."""

    CHECK_IN = "CHECK_IN"
    CHECK_OUT = "CHECK_OUT"
    ACCESS = "ACCESS"


class Verdict(StrEnum):
    """The answer that the gate shows."""

    ADMITTED = "ADMITTED"
    DENIED = "DENIED"


class DenialReason(StrEnum):
    """The reason of a denial; the names are those of the contract."""

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
    NOT_A_GROUP = "NOT_A_GROUP"
    GROUP_TOO_SMALL = "GROUP_TOO_SMALL"
    # Only a gate device uses this reason, for a ticket whose reason only a newer service has.
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Gate:
    """The place where a device scans."""

    event_id: UUID
    location: str
    # Empty: the gate admits all types.
    allowed_types: frozenset[TicketType] = frozenset()


@dataclass(frozen=True, slots=True)
class OfflineDecision:
    """A decision that a device made alone; its times are corrected to the clock of this service."""

    verdict: Verdict
    denial_reason: DenialReason | None
    scan_time: datetime
    # None: the person passed.
    annul_time: datetime | None
    # The device did not know the time: the times are estimates.
    clock_unknown: bool = False
    # The further tickets that the scan of a group admitted.
    group_ticket_ids: tuple[UUID, ...] = ()


@record(frozen=True, slots=True)
class Attempt:
    """One scan that a device asks the service to decide or, with `offline`, to record."""

    scan_id: UUID
    gate: Gate
    # The text that the device read.
    text: str
    # The text as a token, a damaged token, a look-up pass, or the digest of a typed code; None where it is none of these.
    credential: Token | DamagedToken | LookUpPass | bytes | None
    scan_type: ScanType
    scanner_user_id: str
    # The organizer to whose events the caller is restricted; None: every organizer is allowed.
    organizer_id: str | None
    metadata: dict[str, object]
    # The value is empty where the caller is not a gate device.
    device_id: str = ""
    # None: the service decides.
    offline: OfflineDecision | None = None
    # The number of people of a group; 0: the scan is that of one ticket.
    group_count: int = 0
    # The place of a further ticket of the group, from 1; 0: the scanned ticket.
    group_index: int = 0

    def fingerprint(self) -> bytes:
        """Return a digest of every field that distinguishes this scan from another one."""
        prefix = _fingerprint_prefix(self.gate.event_id, self.scan_type, self.device_id or self.scanner_user_id)
        group = f"{self.group_count}/{self.group_index}\0" if self.group_count else ""
        return sha256(f"{prefix}{group}{len(self.text)}:{self.text}".encode()).digest()[:FINGERPRINT_BYTES]

    def further(self) -> "Sequence[Attempt]":
        """Return the attempts under which the further tickets of a group are recorded."""
        return [
            replace(self, scan_id=group_scan_id(self.scan_id, index), group_index=index)
            for index in range(1, self.group_count)
        ]


def group_scan_id(scan_id: UUID, index: int) -> UUID:
    """Return the scan_id of a further ticket of a group: the same one whenever the scan of the group is repeated."""
    return scan_id if index == 0 else uuid5(scan_id, f"group/{index}")


@lru_cache(10_000)
def _fingerprint_prefix(event_id: UUID, scan_type: ScanType, scanner: str) -> str:
    """Return the part that a device's scans share; the lengths keep ("a", "bc") and ("ab", "c") apart."""
    return "".join(f"{len(part)}:{part}\0" for part in (str(event_id), scan_type, scanner))


@dataclass(frozen=True, slots=True)
class GroupAdmission:
    """The answer to the scan of a group: all GROUP tickets of one purchase."""

    # The number of people who wanted to check in.
    count: int
    # The tickets admitted, the scanned one first; empty: nobody was admitted.
    ticket_ids: tuple[UUID, ...] = ()
    # The numbers of tickets after the scan: `left` may still be admitted, and `size` are ACTIVE or were checked in. They
    # are None where a device decided offline, and where the ticket is no GROUP ticket of the gate's event.
    left: int | None = None
    inside: int | None = None
    size: int | None = None


@record(frozen=True, slots=True)
class Scan:
    """The record of one scan."""

    scan_id: UUID
    # The event of the gate, under which the record is stored.
    gate_event_id: UUID
    # See `Attempt.fingerprint`.
    fingerprint: bytes
    # The code of the ticket where it is known, masked in the database; else what `sanitize_text` keeps of the text.
    code: str
    scan_type: ScanType
    verdict: Verdict
    denial_reason: DenialReason | None
    # The ticket and its event; None where no ticket is known.
    ticket_id: UUID | None
    event_id: UUID | None
    ticket_type: TicketType | None
    scan_time: datetime
    record_time: datetime
    location: str
    scanner_user_id: str
    metadata: dict[str, object]
    previous: CheckIn | None = None
    device_id: str = ""
    offline: bool = False
    # None: the scan is in effect, if it was admitted.
    annul_time: datetime | None = None
    # The time at which an uploading device says that it annulled the scan; it may be beyond the limits of annulments.
    claimed_annul_time: datetime | None = None
    # The kind of incident that an admission against the rules causes; None: the admission breaks no rule.
    violation: str | None = None
    # The scan_time may be wrong: the device did not know the time, or sent one in the future.
    doubtful_time: bool = False
    # The gate presented a look-up pass, not a token or code of the person.
    looked_up: bool = False
    # The issue of the ticket, from which its code is derived again; None where no ticket is known.
    issue: int | None = None
    # None: the scan is not that of a group.
    group: GroupAdmission | None = None
    # The scan that admitted this ticket as a further one of its group.
    group_scan_id: UUID | None = None

    @property
    def is_recovered(self) -> bool:
        """Return whether the scan is lost, and the record is one of its reported check-in."""
        return self.fingerprint == NO_FINGERPRINT


@dataclass(frozen=True, slots=True)
class ScanQuery:
    """A filter and a page of the list of scans."""

    event_id: UUID
    # The organizer to whose events the caller is restricted; None: every organizer is allowed.
    organizer_id: str | None
    ticket_id: UUID | None
    device_id: str
    verdict: Verdict | None
    code: str
    size: int
    # The record time and id of the last scan of the previous page.
    after: tuple[datetime, UUID] | None


def restore_code(scan: Scan, codes: Codes) -> Scan:
    """Replace the masked code of a stored scan by the full code of its ticket, where the ticket is known."""
    if scan.ticket_id is None or scan.issue is None:
        return scan
    return replace(scan, code=codes.code(scan.ticket_id, scan.issue))
