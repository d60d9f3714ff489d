"""Decisions without a connection: the service's own rules, applied to the records of this device.

The device verifies the signature of a token. It cannot verify a typed code, which needs the connection.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from ticketing.admission.codes import read_code
from ticketing.admission.decision import Decision, PresentedTicket, decide
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import AdmissionState, CheckIn, Ticket
from ticketing.admission.tokens import DamagedToken, Token, is_genuine
from ticketing.gate.messages import EventRules

# Notes shown to the person at the gate.
NO_REPLICA: Final = "this device has not loaded the event yet: it needs the connection once"
NEEDS_CONNECTION: Final = "typed codes need the connection: ask for the QR code"
UNKNOWN_KEY: Final = "signed with a key that this device does not have"


@dataclass(frozen=True, slots=True)
class DeviceDecision:
    """The decision of the device on one scan."""

    decision: Decision
    # The ticket before the scan; None if the text is no genuine token.
    presented: PresentedTicket | None = None
    # A note for the person at the gate.
    note: str = ""


@dataclass(frozen=True, slots=True)
class DeviceScan:
    """One scan that the device decides."""

    scan_id: UUID
    text: str
    # The result of `read_token`.
    credential: Token | DamagedToken | None
    scan_type: ScanType
    gate: Gate


@dataclass(frozen=True, slots=True)
class DeviceRecords:
    """The records of the device about the event and the ticket of one scan."""

    # The value is None if the device has no replica of the event.
    rules: EventRules | None
    # The value is None if the replica lacks the ticket; a genuine token proves it.
    ticket: Ticket | None = None
    # The admission state after this device's own scans; None if the replica is at least as new.
    own_admission: AdmissionState | None = None


def decide_offline(scan: DeviceScan, records: DeviceRecords, now: datetime) -> DeviceDecision:
    """Decide one scan; `now` is the present time by the service's clock."""
    rules = records.rules
    if rules is None:
        return DeviceDecision(Decision(DenialReason.EVENT_NOT_OPEN), note=NO_REPLICA)
    token = scan.credential
    if token is None:
        note = NEEDS_CONNECTION if read_code(scan.text) else ""
        return DeviceDecision(Decision(DenialReason.TICKET_NOT_FOUND), note=note)
    if isinstance(token, DamagedToken):
        return DeviceDecision(Decision(DenialReason.INVALID_SIGNATURE))
    key = rules.keys.get(token.key_id)
    if not is_genuine(token, None, key, now):
        return DeviceDecision(Decision(DenialReason.INVALID_SIGNATURE), note="" if key else UNKNOWN_KEY)
    ticket = records.ticket or token.ticket()
    if records.own_admission is not None:
        ticket = replace(ticket, admission=records.own_admission)
    if ticket.admission.latest_check_in is not None and ticket.admission.latest_check_in.scan_id == scan.scan_id:
        # The service admitted this scan and its answer was lost; the replica already contains the admission.
        ticket = replace(ticket, admission=AdmissionState())
    presented = PresentedTicket(ticket, token.issue, token.ticket_type, by_token=True)
    check_in = CheckIn(scan.scan_id, now, scan.gate.location)
    return DeviceDecision(decide(rules.event, scan.gate, presented, scan.scan_type, check_in), presented)
