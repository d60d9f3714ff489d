"""Decisions without a connection: the service's own rules, applied to the records of this device.

The device verifies the signature of a token. It cannot verify a typed code, which needs the connection.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ticketing.admission.codes import read_code
from ticketing.admission.days import change_hour_of
from ticketing.admission.decision import Decision, PresentedTicket, decide
from ticketing.admission.groups import GroupDecision, decide_group
from ticketing.admission.look_up_passes import is_pass
from ticketing.admission.scans import DenialReason, Gate, GroupAdmission, ScanType, group_scan_id
from ticketing.admission.tickets import AdmissionState, CheckIn, Event, Ticket
from ticketing.admission.tokens import DamagedToken, PublicKey, Token, is_genuine
from ticketing.gate.device_clock import CLOCK_UNKNOWN
from ticketing.gate.messages import EventRules

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
# Notes shown to the person at the gate.
NO_REPLICA: Final = "this device has not loaded the event yet: it needs the connection once"
NEEDS_CONNECTION: Final = "typed codes need the connection: ask for the QR code"
UNKNOWN_GROUP: Final = "this device does not know the group: scan each ticket, or wait for the connection"
LOOK_UPS_NEED_CONNECTION: Final = "look-ups need the connection to the service"
UNKNOWN_KEY: Final = "signed with a key that this device does not have"


@dataclass(frozen=True, slots=True)
class DeviceDecision:
    """The decision of the device on one scan."""

    decision: Decision
    # The ticket before the scan; None if the text is no genuine token.
    presented: PresentedTicket | None = None
    # A note for the person at the gate.
    note: str = ""
    # The group; None if the scan is not that of a group.
    group: GroupDecision | None = None


@dataclass(frozen=True, slots=True)
class DeviceScan:
    """One scan that the device decides."""

    scan_id: UUID
    text: str
    # The result of `read_token`.
    credential: Token | DamagedToken | None
    scan_type: ScanType
    gate: Gate
    # The number of people of a group; 0: the scan is that of one ticket.
    group_count: int = 0


@dataclass(frozen=True, slots=True)
class DeviceRecords:
    """The records of the device about the event and the ticket of one scan."""

    # The value is None if the device has no replica of the event.
    rules: EventRules | None
    # The value is None if the replica lacks the ticket; a genuine token proves it.
    ticket: Ticket | None = None
    # The admission state after this device's own scans; None if the replica is at least as new.
    own_admission: AdmissionState | None = None
    # The tickets of the group, after this device's own scans; empty if the replica does not have the purchase.
    group: Sequence[Ticket] = ()


def decide_offline(
    scan: DeviceScan, records: DeviceRecords, now: datetime, earliest: datetime | None = None
) -> DeviceDecision:
    """Decide one scan; `now` is the present time by the service's clock.

    While the device does not know the time, `now` is an estimate and `earliest` a time that has certainly passed. Then
    only an end before `earliest` counts: a device that trusted its estimate would lock out a full house.
    """
    rules = records.rules
    if rules is None:
        return DeviceDecision(Decision(DenialReason.EVENT_NOT_OPEN), note=NO_REPLICA)
    token = scan.credential
    if token is None:
        note = NEEDS_CONNECTION if read_code(scan.text) else ""
        if is_pass(scan.text):
            note = LOOK_UPS_NEED_CONNECTION
        return DeviceDecision(Decision(DenialReason.TICKET_NOT_FOUND), note=note)
    if isinstance(token, DamagedToken):
        return DeviceDecision(Decision(DenialReason.INVALID_SIGNATURE))
    key = rules.keys.get(token.key_id)
    if not _is_genuine(token, key, now, earliest):
        return DeviceDecision(Decision(DenialReason.INVALID_SIGNATURE), note="" if key else UNKNOWN_KEY)
    ticket = records.ticket or token.ticket()
    if records.own_admission is not None:
        ticket = replace(ticket, admission=records.own_admission)
    ticket = _without_scan(ticket, {scan.scan_id})
    presented = PresentedTicket(ticket, token.issue, token.ticket_type, by_token=True)
    check_in = CheckIn(scan.scan_id, now, scan.gate.location)
    judged = replace(presented, ticket=_judged(ticket, rules.event, scan.scan_type, earliest))
    if not scan.group_count:
        decision = decide(rules.event, scan.gate, judged, scan.scan_type, check_in)
        return DeviceDecision(decision, presented, CLOCK_UNKNOWN if earliest and decision.reason is None else "")
    scan_ids = {group_scan_id(scan.scan_id, index) for index in range(scan.group_count)}
    others = [_judged(_without_scan(one, scan_ids), rules.event, scan.scan_type, earliest) for one in records.group]
    group = decide_group(rules.event, scan.gate, judged, check_in, others=others, count=scan.group_count)
    note = CLOCK_UNKNOWN if earliest and group.decision.reason is None else ""
    if group.decision.reason is DenialReason.GROUP_TOO_SMALL and ticket.purchase_id is None:
        note = UNKNOWN_GROUP
        group = replace(group, group=GroupAdmission(scan.group_count))
    return DeviceDecision(group.decision, presented, note, group)


def _without_scan(ticket: Ticket, scan_ids: Collection[UUID]) -> Ticket:
    """Return a ticket without the admission by this scan.

    The service admitted the scan and its answer was lost; the replica already contains the admission.
    """
    latest = ticket.admission.latest_check_in
    if latest is None or latest.scan_id not in scan_ids:
        return ticket
    return replace(ticket, admission=AdmissionState())


def _judged(ticket: Ticket, event: Event, scan_type: ScanType, earliest: datetime | None) -> Ticket:
    """Return a ticket as it is judged: without the dates that a device cannot judge by its estimate of the time."""
    if earliest is None:
        return ticket
    ticket = _without_dates(ticket, event, earliest)
    return _without_earlier_days(ticket, event, earliest) if scan_type is ScanType.CHECK_IN else ticket


def _is_genuine(token: Token, key: PublicKey | None, now: datetime, earliest: datetime | None) -> bool:
    if earliest is None or key is None:
        return is_genuine(token, None, key, now)
    # A key that has certainly retired stays retired; the signature proves that it was active.
    is_retired = key.retire_time is not None and earliest >= key.retire_time
    return not is_retired and token.verifies(key.key)


def _without_earlier_days(ticket: Ticket, event: Event, earliest: datetime) -> Ticket:
    """Return a ticket without a check-in that the device knew before it lost the time, where days matter.

    Another day may have begun since then. A check-in of this device after the loss still counts.
    """
    latest = ticket.admission.latest_check_in
    if latest is None or change_hour_of(event) is None or latest.time > earliest:
        return ticket
    return replace(ticket, admission=AdmissionState())


def _without_dates(ticket: Ticket, event: Event, earliest: datetime) -> Ticket:
    """Return a ticket that has begun, and has ended only if that is certain."""
    end = ticket.valid_until_time or event.valid_until_time
    is_over = end is not None and earliest > end
    return replace(ticket, valid_from_time=_FIRST, valid_until_time=end if is_over else _LAST)
