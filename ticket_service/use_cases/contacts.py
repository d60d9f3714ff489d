"""Correct e-mail addresses, and send the mail again.

The relay looks addresses up when it writes a mail, so mails that wait go to the corrected address.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.changes import Change, ChangeKind
from ticket_service.domain.contacts import DAY, MAX_BY_USER, MAX_OF_PURCHASE, EmailCorrection, check_rate
from ticket_service.domain.notifications import email_corrected
from ticket_service.domain.refusals import event_not_found, purchase_not_found, request_id_reused, ticket_not_found
from ticket_service.store import changes, outbox
from ticket_service.store import contacts as store
from ticket_service.store.access import purchase_visible_to, ticket_visible_to
from ticket_service.store.events import lock_event
from ticket_service.store.purchases import find_purchase
from ticket_service.store.requests import RequestKey, claim
from ticket_service.store.tickets import find_ticket
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database

# The name is part of the fingerprint: another RPC with the same request_id is another request.
_CORRECT: Final = b"CorrectEmail\0"


class Contacts:
    """The use case of correcting addresses."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def correct(self, caller: Caller, correction: EmailCorrection) -> None:
        """Store an address that `caller` may correct, and send the mail with the tickets to it.

        Raises:
            Failure: PURCHASE_NOT_FOUND, TICKET_NOT_FOUND, REQUEST_ID_REUSED or EMAIL_LIMIT.
        """
        await self._database.run(lambda connection: self._correct(connection, caller, correction))

    def _correct(self, connection: Connection, caller: Caller, correction: EmailCorrection) -> None:
        recipient = _find_recipient(connection, caller, correction)
        event_id, purchase_id = recipient.event_id, recipient.purchase_id
        if lock_event(connection, event_id) is None:
            raise event_not_found(event_id)
        # Before the event was locked, a transfer may have given the ticket to another holder, whose mails the caller
        # must not redirect; or the buyer may have been erased.
        recipient = _find_recipient(connection, caller, correction)
        now = self._clock()
        # The fingerprint does not contain the address, which would outlast its erasure: the stored one is compared.
        digest = hashlib.sha256(_CORRECT + correction.target_id.bytes).digest()
        key = RequestKey(caller.subject, correction.request_id, digest)
        first = claim(connection, key, event_id, purchase_id, now)
        if first is not None:
            if first.fingerprint != digest or not _is_stored(connection, recipient, correction):
                raise request_id_reused(correction.request_id)
            return
        _check_rates(connection, caller, purchase_id, now)
        ticket_id = recipient.ticket_id
        transfer = None if ticket_id is None else store.last_transfer(connection, event_id, ticket_id)
        if transfer is None:
            store.store_address(connection, event_id, purchase_id, correction.email)
            if correction.language:
                store.store_language(connection, event_id, purchase_id, correction.language)
            notifications = email_corrected(event_id, purchase_id, recipient.user_id)
        else:
            store.store_address_of_transfer(connection, event_id, transfer, correction.email)
            notifications = email_corrected(event_id, purchase_id, recipient.user_id, ticket_id)
        changes.record(connection, caller, Change(ChangeKind.EMAIL_CORRECTED, event_id, purchase_id, ticket_id), now)
        outbox.write(connection, notifications, now)


@dataclass(frozen=True, slots=True)
class _Recipient:
    """The buyer of a purchase or, with a ticket, the ticket's present holder."""

    event_id: UUID
    purchase_id: UUID
    ticket_id: UUID | None
    user_id: str
    language: str


def _find_recipient(connection: Connection, caller: Caller, correction: EmailCorrection) -> _Recipient:
    target_id = correction.target_id
    if correction.is_of_ticket:
        sold = find_ticket(connection, target_id, ticket_visible_to(caller))
        if sold is None:
            raise ticket_not_found(target_id)
        return _Recipient(sold.ticket.event_id, sold.ticket.purchase_id, target_id, sold.ticket.user_id, sold.language)
    purchase = find_purchase(connection, target_id, purchase_visible_to(caller))
    if purchase is None:
        raise purchase_not_found(target_id)
    return _Recipient(purchase.event_id, target_id, None, purchase.user_id, purchase.language)


def _is_stored(connection: Connection, recipient: _Recipient, correction: EmailCorrection) -> bool:
    has_language = not correction.language or correction.language == recipient.language
    return has_language and _stored_address(connection, recipient) == correction.email


def _stored_address(connection: Connection, recipient: _Recipient) -> str:
    if recipient.ticket_id is None:
        return store.address_of_buyer(connection, recipient.event_id, recipient.purchase_id)
    found = store.addresses_of_holders(connection, recipient.event_id, [recipient.ticket_id])
    return found[recipient.ticket_id]


def _check_rates(connection: Connection, caller: Caller, purchase_id: UUID, now: datetime) -> None:
    kind, since = ChangeKind.EMAIL_CORRECTED, now - DAY
    of_purchase = changes.recent_changes(connection, kind, since, purchase_id=purchase_id)
    check_rate(of_purchase, MAX_OF_PURCHASE, now)
    if not caller.is_any(Role.SERVICE, Role.ORGANIZER):
        by_user = changes.recent_changes(connection, kind, since, caller=caller.subject)
        check_rate(by_user, MAX_BY_USER, now)
