"""Mail notifications: read the tickets and addresses, draw the files, write the mails, send them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.delivery.emails import MAILED, MailContext, emails_for
from ticket_service.delivery.mail_files import split
from ticket_service.delivery.mime_writer import MimeWriter
from ticket_service.delivery.receiver import Delivery, UndeliveredError
from ticket_service.delivery.smtp import SmtpClient
from ticket_service.delivery.store.purchases import find_purchase
from ticket_service.domain.calendar_entries import CalendarOrganizer, holder_of
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.tickets import CANCELLED_STATUSES, SoldTicket
from ticket_service.store.contacts import address_of_buyer, addresses_of_holders
from ticket_service.store.events import find_event
from ticket_service.store.tickets import find_ticket, tickets_of_holder, tickets_of_purchase
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


class EmailReceiver:
    """The receiver that mails notifications to buyers and holders."""

    name: Final = "mail"
    kinds: Final = MAILED
    by_purchase: Final = True
    # The files of a large order take seconds, and on a busy machine minutes: processes of a lower priority draw them.
    preparation_seconds: Final = 120.0

    def __init__(
        self, database: Database, writer: MimeWriter, smtp: SmtpClient, issuing: Issuing, clock: Clock
    ) -> None:
        self.max_parallel = smtp.max_connections
        self._database = database
        self._writer = writer
        self._smtp = smtp
        self._issuing = issuing
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> None:
        """Send the mails of a notification; a repetition sends all of them again, under the same Message-IDs.

        Raises:
            UndeliveredError: at least one mail was not sent.
        """
        organizer = self._writer.organizer
        context = await self._database.run(
            lambda connection: read_context(connection, delivery.notification, organizer)
        )
        for email in (part for whole in emails_for(context) for part in split(whole)):
            shown = [*email.tickets, *(sold for entry in email.entries for sold in entry.tickets)]
            secrets = {sold.ticket.ticket_id: self._issuing.secrets(sold.ticket) for sold in shown}
            message_id = f"{delivery.notification_id}.{delivery.stream}"
            await self._smtp.send(await self._writer.write(email, secrets, message_id, self._clock()))

    async def close(self) -> None:
        """Do nothing: each mail has its own connection."""


def read_context(connection: Connection, notification: Notification, organizer: CalendarOrganizer) -> MailContext:
    """Read the present event, purchase, tickets and addresses; raise UndeliveredError if there is no such purchase."""
    event = find_event(connection, notification.event_id)
    purchase = find_purchase(connection, notification.event_id, notification.purchase_id)
    if event is None or purchase is None:
        raise UndeliveredError("there is no such purchase", is_permanent=True)
    event_id = notification.event_id
    sold = _tickets(connection, notification, purchase.purchase_id)
    holders = _addresses(connection, event_id, sold)
    previous = ""
    if notification.kind is Kind.TICKET_TRANSFERRED and notification.ticket_id is not None:
        ticket_id, issue = notification.ticket_id, int(str(notification.data["issue"])) - 1
        previous = addresses_of_holders(connection, notification.event_id, [ticket_id], issue)[ticket_id]
    context = MailContext(
        notification,
        event,
        sold,
        address_of_buyer(connection, event_id, purchase.purchase_id),
        holders,
        organizer,
        previous,
        language=purchase.language,
    )
    calendars = {holder_of(one, context.address_of(one)) for one in sold}
    if previous:
        calendars |= {holder_of(one, previous) for one in context.previous_tickets}
    held = {holder: tickets_of_holder(connection, event_id, holder) for holder in calendars}
    addresses = _addresses(connection, event_id, [one for tickets in held.values() for one in tickets])
    return replace(context, held=held, holders=addresses | holders)


def _addresses(connection: Connection, event_id: UUID, sold: Sequence[SoldTicket]) -> dict[UUID, str]:
    return addresses_of_holders(connection, event_id, [one.ticket.ticket_id for one in sold])


def _tickets(connection: Connection, notification: Notification, purchase_id: UUID) -> list[SoldTicket]:
    """Read the tickets of a notification, in the order of their creation."""
    if notification.ticket_id is not None:
        ticket = find_ticket(connection, notification.ticket_id)
        is_void = ticket is not None and ticket.ticket.status in CANCELLED_STATUSES
        return [ticket] if ticket and not (is_void and notification.kind is Kind.EMAIL_CORRECTED) else []
    if notification.kind is Kind.REFUND_MADE:
        # The refund of a late or second payment: another payment paid the tickets, if any.
        return []
    sold = tickets_of_purchase(connection, notification.event_id, purchase_id)
    if notification.kind in {Kind.PURCHASE_COMPLETED, Kind.EVENT_CANCELLED}:
        # The mail about a cancelled event is also the mail about its cancelled tickets.
        return sold
    if notification.kind is Kind.EMAIL_CORRECTED:
        # The tickets of other holders stay with their addresses.
        sold = [one for one in sold if one.ticket.user_id == notification.user_id]
    # A holder who cancelled a ticket gets no further mails about the event.
    return [one for one in sold if one.ticket.status not in CANCELLED_STATUSES]
