"""The lookup of the ticket of a scanned text: among the locked rows or, if it has no row yet, by its genuine token."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from scan_service.store.admission import LockedRows, TicketKey
from scan_service.use_cases.keys import CachedKeys
from ticketing.admission.codes import Codes
from ticketing.admission.decision import PresentedTicket
from ticketing.admission.look_up_passes import LookUpPass
from ticketing.admission.scans import Attempt, DenialReason
from ticketing.admission.tickets import Ticket
from ticketing.admission.tokens import DamagedToken, Token, is_genuine

# Keys fetched within this time count as complete: a live token that names another key is forged.
MAX_FETCH_AGE: Final = timedelta(minutes=2)


class TicketLookup:
    """A lookup of tickets among the rows of one transaction."""

    def __init__(self, rows: LockedRows, keys: CachedKeys, codes: Codes, now: datetime) -> None:
        self._rows = rows
        self._keys = keys
        self._codes = codes
        self._now = now
        self._genuine = dict[tuple[bytes, datetime], bool]()

    def find_unknown(self, attempts: Sequence[Attempt]) -> Sequence[Ticket]:
        """Return the tickets without a row that a genuine token proves at a gate of their own event."""
        result = dict[TicketKey, Ticket]()
        for attempt in attempts:
            token = attempt.credential
            if not isinstance(token, Token) or token.event_id != attempt.gate.event_id:
                continue
            key = (token.event_id, token.ticket_id)
            known = key in self._rows.tickets or token.event_id not in self._rows.events
            if not known and self._is_genuine(token, None, attempt):
                result[key] = self._token_ticket(token)
        return list(result.values())

    def find(self, attempt: Attempt) -> PresentedTicket | DenialReason:
        """Return the ticket that an attempt presents, or the reason why it presents none."""
        credential = attempt.credential
        if isinstance(credential, Token):
            ticket = self._rows.tickets.get((credential.event_id, credential.ticket_id))
            if not self._is_genuine(credential, None if ticket is None else ticket.token_digest, attempt):
                return DenialReason.INVALID_SIGNATURE
            # A genuine token has no row only where it is for another event.
            ticket = ticket or self._token_ticket(credential)
            return PresentedTicket(ticket, credential.issue, credential.ticket_type, by_token=True)
        if isinstance(credential, DamagedToken):
            return DenialReason.INVALID_SIGNATURE
        if isinstance(credential, LookUpPass):
            return self._find_looked_up(attempt, credential)
        key = credential and self._rows.keys_by_code.get(credential)
        if not key:
            return DenialReason.TICKET_NOT_FOUND
        ticket = self._rows.tickets[key]
        return PresentedTicket(ticket, ticket.issue, ticket.ticket_type)

    def _find_looked_up(self, attempt: Attempt, look_up: LookUpPass) -> PresentedTicket | DenialReason:
        ticket = self._rows.tickets.get((look_up.event_id, look_up.ticket_id))
        time = self._now if attempt.offline is None else attempt.offline.scan_time
        if ticket is None or not look_up.is_genuine(self._codes, attempt.device_id or attempt.scanner_user_id, time):
            return DenialReason.TICKET_NOT_FOUND
        return PresentedTicket(ticket, look_up.issue, ticket.ticket_type)

    def may_be_genuine(self, attempt: Attempt) -> bool:
        """Return whether a token names a key that might not have been fetched from the ticket service yet."""
        token = attempt.credential
        if not isinstance(token, Token):
            return False
        scan_time = self._now if attempt.offline is None else attempt.offline.scan_time
        # A fetch after the scan or within MAX_FETCH_AGE is complete, so a scan time in the future extends no wait.
        return self._keys.may_be_missing(token.key_id, min(scan_time, self._now - MAX_FETCH_AGE))

    def code(self, presented: PresentedTicket) -> str:
        """Return the code of a presented ticket."""
        return self._codes.code(presented.ticket.ticket_id, presented.issue)

    def _is_genuine(self, token: Token, known_digest: bytes | None, attempt: Attempt) -> bool:
        """Verify a token now or, for an offline decision, at the scan time: its key may be retired since then."""
        if self._is_genuine_at(self._now, token, known_digest):
            return True
        return attempt.offline is not None and self._is_genuine_at(attempt.offline.scan_time, token, known_digest)

    def _is_genuine_at(self, time: datetime, token: Token, known_digest: bytes | None) -> bool:
        genuine = self._genuine.get((token.digest, time))
        if genuine is None:
            genuine = is_genuine(token, known_digest, self._keys.get(token.key_id), time)
            self._genuine[token.digest, time] = genuine
        return genuine

    def _token_ticket(self, token: Token) -> Ticket:
        return token.ticket(self._codes.digest(self._codes.code(token.ticket_id, token.issue)))
