"""The audit trail of the gates: changes that callers made, without codes or tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from scan_service.domain.devices import Device
from ticketing.admission.scans import Scan
from ticketing.chassis.callers import Caller

# The caller of the commands of an operator.
COMMAND_LINE: Final = Caller("command line", frozenset())


class ChangeKind(StrEnum):
    """The kind of a change."""

    DEVICE_CREATED = "DEVICE_CREATED"
    DEVICE_REVOKED = "DEVICE_REVOKED"
    SCAN_ANNULLED = "SCAN_ANNULLED"
    KEY_RETIRED = "KEY_RETIRED"


@dataclass(frozen=True, slots=True)
class Change:
    """A change to record."""

    kind: ChangeKind
    # The organizer whose device or event it concerns, who may read the record; "" for a signing key.
    organizer_id: str = ""
    # None: the change concerns no single event.
    event_id: UUID | None = None
    device_id: UUID | None = None
    ticket_id: UUID | None = None
    scan_id: UUID | None = None
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RecordedChange:
    """A change with its caller."""

    change_id: UUID
    change: Change
    caller: str
    roles: tuple[str, ...]
    # The x-request-id of the call.
    request_id: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class ChangeQuery:
    """A filter and a page of ListChanges; every part that is set must apply."""

    # The organizer to whose devices and events the caller is restricted; None: the caller reads all.
    organizer_id: str | None
    event_id: UUID | None
    device_id: UUID | None
    ticket_id: UUID | None
    caller: str
    size: int
    before: UUID | None


def device_change(kind: ChangeKind, device: Device) -> Change:
    """Return a change of one device."""
    return Change(kind, device.organizer_id, device_id=device.device_id)


def annulment_change(scan: Scan, organizer_id: str, tickets: int) -> Change:
    """Return the change of an annulled scan, which admitted `tickets` tickets of a group or one ticket."""
    details: dict[str, object] = {"location": scan.location}
    if tickets > 1:
        details["tickets"] = tickets
    return Change(
        ChangeKind.SCAN_ANNULLED,
        organizer_id,
        event_id=scan.gate_event_id,
        ticket_id=scan.ticket_id,
        scan_id=scan.scan_id,
        details=details,
    )
