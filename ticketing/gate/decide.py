"""Deciding alone: by the service's own rules, over what this device knows.

Only tokens prove themselves; typed codes need the connection.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from ticketing.admission.codes import read_code
from ticketing.admission.decision import Decision, PresentedTicket, decide
from ticketing.admission.scans import DenialReason, Gate, ScanType
from ticketing.admission.tickets import Admission, CheckIn, Ticket, TicketStatus
from ticketing.admission.tokens import DamagedToken, Token, is_genuine
from ticketing.gate.messages import Rules

NO_COPY: Final = "this device has not been connected yet and does not know the event"
NEEDS_CONNECTION: Final = "typed codes need the connection: ask for the QR code"
UNKNOWN_KEY: Final = "signed with a key that this device does not know"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the device says, of which ticket."""

    decision: Decision
    # The ticket as it was before; None where there is none.
    shown: PresentedTicket | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One scan that the device is to decide."""

    scan_id: UUID
    text: str
    # What `read_token` makes of it.
    credential: Token | DamagedToken | None
    scan_type: ScanType
    gate: Gate


@dataclass(frozen=True, slots=True)
class Known:
    """What the device knows about the event and the ticket."""

    # None where the copy has never come.
    rules: Rules | None
    # None where the copy has not brought it, which a genuine token makes up for.
    ticket: Ticket | None = None
    # After this device's own scans; None where the copy knows as much.
    own: Admission | None = None


def decide_alone(question: Question, known: Known, now: datetime) -> Ruling:
    """Decide one scan; `now` by the service's clock."""
    rules = known.rules
    if rules is None:
        return Ruling(Decision(DenialReason.EVENT_NOT_OPEN), note=NO_COPY)
    token = question.credential
    if token is None:
        note = NEEDS_CONNECTION if read_code(question.text) else ""
        return Ruling(Decision(DenialReason.TICKET_NOT_FOUND), note=note)
    if isinstance(token, DamagedToken):
        return Ruling(Decision(DenialReason.INVALID_SIGNATURE))
    key = rules.keys.get(token.key_id)
    if not is_genuine(token, None, key, now):
        return Ruling(Decision(DenialReason.INVALID_SIGNATURE), note="" if key else UNKNOWN_KEY)
    ticket = known.ticket or _proven(token)
    if known.own is not None:
        ticket = replace(ticket, admission=known.own)
    if ticket.admission.latest_check_in is not None and ticket.admission.latest_check_in.scan_id == question.scan_id:
        # The service admitted this very scan; its answer was lost, and the copy brought the news.
        ticket = replace(ticket, admission=Admission())
    shown = PresentedTicket(ticket, token.issue, token.ticket_type)
    entry = CheckIn(question.scan_id, now, question.gate.location)
    return Ruling(decide(rules.event, question.gate, shown, question.scan_type, entry), shown)


def _proven(token: Token) -> Ticket:
    return Ticket(
        event_id=token.event_id,
        ticket_id=token.ticket_id,
        ticket_type=token.ticket_type,
        status=TicketStatus.ACTIVE,
        valid_from_time=None,
        valid_until_time=None,
        issue=token.issue,
        code_digest=b"",
        token_digest=None,
    )
