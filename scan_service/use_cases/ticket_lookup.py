"""What was shown at a gate: a ticket that a batch holds, one that a genuine token proves, or none."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from scan_service.store.admission import LockedRows, TicketKey
from scan_service.use_cases.keys import Keys
from ticketing.admission.codes import Codes
from ticketing.admission.decision import Presented
from ticketing.admission.scans import Attempt, DenialReason
from ticketing.admission.tickets import Ticket, TicketStatus
from ticketing.admission.tokens import Damaged, Token, is_genuine

# Of what was shown just now a key may be missing that is younger: then it is called forged.
KEYS_ARE_FRESH: Final = timedelta(minutes=2)


class TicketLookup:
    """Recognises tickets over what one transaction holds.

    Args:
        held: locked, and changed as the batch goes on.
        keys: verify tokens.
        codes: look up typed codes.
        now: the present time.
    """

    def __init__(self, held: LockedRows, keys: Keys, codes: Codes, now: datetime) -> None:
        self._held = held
        self._keys = keys
        self._codes = codes
        self._now = now
        self._genuine = dict[tuple[bytes, datetime], bool]()

    def unknown(self, attempts: Sequence[Attempt]) -> Sequence[Ticket]:
        """Return the tickets that genuine tokens for their own event's gate prove, and that have no row yet."""
        result = dict[TicketKey, Ticket]()
        for attempt in attempts:
            token = attempt.credential
            if not isinstance(token, Token) or token.event_id != attempt.gate.event_id:
                continue
            key = (token.event_id, token.ticket_id)
            known = key in self._held.tickets or token.event_id not in self._held.events
            if not known and self._is_genuine(token, None, attempt):
                result[key] = self._proven(token)
        return list(result.values())

    def presented(self, attempt: Attempt) -> Presented | DenialReason:
        """Return the ticket that was shown, or why it is none."""
        credential = attempt.credential
        if isinstance(credential, Token):
            ticket = self._held.tickets.get((credential.event_id, credential.ticket_id))
            if not self._is_genuine(credential, None if ticket is None else ticket.token_digest, attempt):
                return DenialReason.INVALID_SIGNATURE
            # Without a row only where it is for another event's gate.
            return Presented(ticket or self._proven(credential), credential.issue, credential.ticket_type)
        if isinstance(credential, Damaged):
            return DenialReason.INVALID_SIGNATURE
        key = credential and self._held.keys_by_code.get(credential)
        if not key:
            return DenialReason.TICKET_NOT_FOUND
        ticket = self._held.tickets[key]
        return Presented(ticket, ticket.issue, ticket.ticket_type)

    def may_be_genuine(self, attempt: Attempt) -> bool:
        """Tell whether a token that was not recognised names a key that has not come from the ticket service yet."""
        token = attempt.credential
        if not isinstance(token, Token):
            return False
        shown = self._now if attempt.offline is None else attempt.offline.scan_time
        # Keys are fetched once a minute; a device whose clock is ahead waits for no other.
        return self._keys.may_lack(token.key_id, min(shown, self._now - KEYS_ARE_FRESH))

    def code(self, shown: Presented) -> str:
        """Return the code of what was shown."""
        return self._codes.code(shown.ticket.ticket_id, shown.issue)

    def _is_genuine(self, token: Token, known_digest: bytes | None, attempt: Attempt) -> bool:
        """Look now and, where a device decided alone, as of then: its key may have been retired since."""
        if self._is_genuine_at(self._now, token, known_digest):
            return True
        return attempt.offline is not None and self._is_genuine_at(attempt.offline.scan_time, token, known_digest)

    def _is_genuine_at(self, time: datetime, token: Token, known_digest: bytes | None) -> bool:
        genuine = self._genuine.get((token.digest, time))
        if genuine is None:
            genuine = is_genuine(token, known_digest, self._keys.get(token.key_id), time)
            self._genuine[token.digest, time] = genuine
        return genuine

    def _proven(self, token: Token) -> Ticket:
        code = self._codes.code(token.ticket_id, token.issue)
        return Ticket(
            event_id=token.event_id,
            ticket_id=token.ticket_id,
            ticket_type=token.ticket_type,
            status=TicketStatus.ACTIVE,
            valid_from_time=None,
            valid_until_time=None,
            issue=token.issue,
            code_digest=self._codes.digest(code),
            token_digest=None,
        )
