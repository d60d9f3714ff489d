"""Mailing people what concerns them: read whose affair it is and where they are mailed, write the mails, send them."""

import asyncio
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.delivery.emails import MAILED, Mailing, emails
from ticket_service.delivery.mail_message import MailWriter
from ticket_service.delivery.smtp import Smtp
from ticket_service.domain.check_ins import GIVEN_BACK
from ticket_service.domain.notifications import Delivery, Kind, Notification, UndeliveredError
from ticket_service.domain.tickets import SoldTicket
from ticket_service.store.contacts import address_of_buyer, addresses_of_holders
from ticket_service.store.events import find_event
from ticket_service.store.purchases import find_purchases
from ticket_service.store.tables import purchases, tickets
from ticket_service.store.tickets import find_tickets, has_id
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


class Mails:
    """Mails notifications.

    Args:
        database: where tickets and addresses are.
        writer: writes the mails.
        smtp: sends them.
        issuing: makes what opens a gate.
        clock: the present time.
    """

    name: Final = "mail"
    kinds: Final = MAILED
    by_purchase: Final = True
    # Codes and pages are drawn for each: more at once would be taken from sales, where the service itself delivers.
    at_once: Final = 2

    def __init__(self, database: Database, writer: MailWriter, smtp: Smtp, issuing: Issuing, clock: Clock) -> None:
        self._database = database
        self._writer = writer
        self._smtp = smtp
        self._issuing = issuing
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> None:
        """Mail everybody whom it concerns; after a failure everybody again, under the same Message-ID.

        Raises:
            UndeliveredError: not everybody was told.
        """
        mailing = await self._database.run(lambda connection: read(connection, delivery.notification))
        for email in emails(mailing):
            secrets = [self._issuing.secrets(sold.ticket) for sold in email.tickets]
            # Drawing takes a processor for longer than the event loop may wait.
            message = await asyncio.to_thread(
                self._writer.write, email, secrets, f"{delivery.notification_id}.{delivery.stream}", self._clock()
            )
            await self._smtp.send(message)

    async def close(self) -> None:
        """Let go of nothing: each mail has a connection of its own."""


def read(connection: Connection, told: Notification) -> Mailing:
    """Read what mails of a notification need, as it now is.

    Raises:
        UndeliveredError: it is about nothing that there is.
    """
    event = find_event(connection, told.event_id)
    its = (purchases.c.event_id == told.event_id, purchases.c.purchase_id == told.purchase_id)
    found = find_purchases(connection, its)
    if event is None or not found:
        raise UndeliveredError("there is no such purchase", for_good=True)
    purchase = found[0]
    sold = _tickets(connection, told, purchase.purchase_id)
    holders = addresses_of_holders(connection, told.event_id, [one.ticket.ticket_id for one in sold])
    previous = ""
    if told.kind is Kind.TICKET_TRANSFERRED and told.ticket_id is not None:
        before = int(str(told.data["issue"])) - 1
        previous = addresses_of_holders(connection, told.event_id, [told.ticket_id], before)[told.ticket_id]
    return Mailing(
        told,
        event,
        sold,
        address_of_buyer(connection, told.event_id, purchase.purchase_id),
        holders,
        previous,
        language=str(purchase.metadata.get("language", "")),
    )


def _tickets(connection: Connection, told: Notification, purchase_id: UUID) -> list[SoldTicket]:
    """Read the tickets that it is about, in the order in which they were made."""
    if told.ticket_id is not None:
        return find_tickets(connection, [has_id(told.ticket_id)])
    if told.kind is Kind.REFUND_MADE:
        # Of a payment that led to none, or to those that another payment paid.
        return []
    its = [tickets.c.event_id == told.event_id, tickets.c.purchase_id == purchase_id]
    sold = find_tickets(connection, its)[::-1]
    if told.kind is Kind.PURCHASE_COMPLETED:
        return sold
    # Who gave a ticket back needs to know no more of the event; of one that is off, those given back just now were told
    # by this.
    return [one for one in sold if told.kind is Kind.EVENT_CANCELLED or one.ticket.status not in GIVEN_BACK]
