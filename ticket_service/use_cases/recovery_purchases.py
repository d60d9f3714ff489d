"""Restore the purchases of tickets that only the scan service has, so that their holders get in and keep their places."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.events import Event, TicketType
from ticket_service.domain.holds import Payment, PaymentResult, lost_payment
from ticket_service.domain.ledger import payment_entry
from ticket_service.domain.purchases import EXTERNAL, FREE, Item, Purchase, PurchaseStatus
from ticket_service.domain.reconciliation import ProviderCharge
from ticket_service.domain.recovery import Finding, FindingKind, KnownTicket, priced_items, purchases_of_tickets
from ticket_service.domain.sales import Inventory
from ticket_service.domain.ticket_ids import ticket_ids_of
from ticket_service.domain.tickets import Ticket, TicketStatus
from ticket_service.store import ledger
from ticket_service.store import restored as store
from ticket_service.store.events import lock_event
from ticket_service.store.holds import (
    insert_payment,
    insert_tickets,
    lock_purchases,
    update_counters,
    update_purchase,
)
from ticket_service.use_cases.issuing import Issuing
from ticketing.chassis.ids import new_id


class PurchaseRestorer:
    """Restores purchases of one event in one transaction; `charges` are the unrecorded ones by purchase, with provider."""

    def __init__(self, issuing: Issuing, charges: Mapping[UUID, tuple[str, ProviderCharge]], now: datetime) -> None:
        self._issuing = issuing
        self._charges = charges
        self._now = now

    def restore(self, connection: Connection, event_id: UUID, lost: Sequence[KnownTicket]) -> list[Finding]:
        """Insert the tickets that the database lacks, with their purchases; return the findings."""
        event = lock_event(connection, event_id)
        if event is None:
            return []
        missing = store.missing_tickets(connection, event_id, [ticket.ticket_id for ticket in lost])
        lost = [ticket for ticket in lost if ticket.ticket_id in missing]
        inventory = Inventory(event)
        held = store.open_purchases(connection, event_id)
        charged = [purchase_id for purchase_id, (_, one) in self._charges.items() if one.event_id == str(event_id)]
        by_purchase, others = purchases_of_tickets(lost, [*held, *charged])
        found = list[Finding]()
        for purchase_id, tickets in sorted(by_purchase.items()):
            if purchase_id in held:
                [purchase] = lock_purchases(connection, event_id, [purchase_id])
                found += self._complete(connection, inventory, purchase, tickets)
            else:
                found += self._buy_again(connection, inventory, purchase_id, tickets)
        found += self._keep(connection, inventory, others)
        if store.raise_capacity(connection, event_id, inventory.reserved, inventory.offers_reserved):
            details = {"reserved": inventory.reserved}
            found.append(Finding(FindingKind.CAPACITY_EXCEEDED, str(event_id), event_id, details))
        update_counters(connection, inventory)
        return found

    def _complete(
        self, connection: Connection, inventory: Inventory, purchase: Purchase, known: Mapping[int, KnownTicket]
    ) -> list[Finding]:
        """Complete a purchase that was open at the restored moment, with the tickets that its buyer has."""
        if purchase.status is not PurchaseStatus.HELD:
            inventory.reserve(purchase.items)
        provider, charge = self._charges.get(purchase.purchase_id, (EXTERNAL, None))
        paid = (purchase.currency, purchase.total)
        payment = (
            lost_payment(purchase.purchase_id, paid) if charge is None else Payment(charge.payment_id, paid, provider)
        )
        completed = replace(
            purchase,
            status=PurchaseStatus.COMPLETED,
            provider=provider,
            payment_id=payment.payment_id,
            complete_time=self._now,
            due_time=None,
            payment_method=None,
            client_secret=None,
        )
        update_purchase(connection, completed)
        self._record_payment(connection, completed, payment)
        self._insert_tickets(connection, inventory, completed, known)
        return self._findings(completed, known, is_external=charge is None)

    def _buy_again(
        self, connection: Connection, inventory: Inventory, purchase_id: UUID, known: Mapping[int, KnownTicket]
    ) -> list[Finding]:
        """Insert a purchase of which the provider has the payment, without its buyer."""
        provider, charge = self._charges[purchase_id]
        types = _types(inventory.event, known)
        items = priced_items(types, inventory.event, charge.amount)
        purchase = self._new_purchase(inventory.event, purchase_id, items, provider, charge.payment_id)
        store.insert_purchase(connection, purchase)
        inventory.reserve(items)
        paid = (charge.currency, charge.amount)
        self._record_payment(connection, purchase, Payment(charge.payment_id, paid, provider))
        self._insert_tickets(connection, inventory, purchase, known)
        lost = [Finding(FindingKind.HOLDER_LOST, str(one.ticket_id), purchase.event_id) for one in known.values()]
        return [*self._findings(purchase, known, is_external=False), *lost]

    def _keep(self, connection: Connection, inventory: Inventory, lost: Sequence[KnownTicket]) -> list[Finding]:
        """Insert tickets whose purchase nobody has: they cost nothing, so nothing is ever refunded for them."""
        event_id = inventory.event.event_id
        gone = [ticket for ticket in lost if ticket.is_cancelled]
        valid = dict(enumerate(one for one in lost if not one.is_cancelled))
        if valid:
            items = tuple(Item(kind, 1, 0) for kind in _types(inventory.event, valid))
            purchase = self._new_purchase(inventory.event, new_id(), items, FREE, None)
            store.insert_purchase(connection, purchase)
            inventory.reserve(items)
            self._insert_tickets(connection, inventory, purchase, valid, ids=[one.ticket_id for one in valid.values()])
        return [
            *(Finding(FindingKind.PURCHASE_LOST, str(one.ticket_id), event_id) for one in valid.values()),
            *(Finding(FindingKind.CANCELLED_TICKET_LOST, str(one.ticket_id), event_id) for one in gone),
        ]

    def _new_purchase(
        self, event: Event, purchase_id: UUID, items: tuple[Item, ...], provider: str, payment_id: str | None
    ) -> Purchase:
        return Purchase(
            purchase_id=purchase_id,
            event_id=event.event_id,
            # Nobody by name.
            user_id="",
            items=items,
            currency=event.currency,
            total=sum(item.quantity * item.unit_price for item in items),
            status=PurchaseStatus.COMPLETED,
            provider=provider,
            payment_id=payment_id,
            metadata={},
            create_time=self._now,
            complete_time=self._now,
            event_version=event.version,
        )

    def _record_payment(self, connection: Connection, purchase: Purchase, payment: Payment) -> None:
        if purchase.total and insert_payment(connection, payment, PaymentResult(purchase), self._now):
            ledger.enter(connection, payment_entry(purchase, payment), self._now)

    def _insert_tickets(
        self,
        connection: Connection,
        inventory: Inventory,
        purchase: Purchase,
        known: Mapping[int, KnownTicket],
        ids: Sequence[UUID] | None = None,
    ) -> None:
        wanted = [item for item in purchase.items for _ in range(item.quantity)]
        # One ticket of a purchase tells the ids of all: the feed may not have delivered the others.
        ids = ids or ticket_ids_of(purchase.purchase_id, len(wanted), next(iter(known.values())).ticket_id)
        new = list[Ticket]()
        for number, (item, ticket_id) in enumerate(zip(wanted, ids, strict=True)):
            inventory.revision += 1
            there = known.get(number)
            offer = inventory.event.offer(item.ticket_type)
            new.append(
                Ticket(
                    ticket_id=ticket_id,
                    event_id=purchase.event_id,
                    purchase_id=purchase.purchase_id,
                    user_id=purchase.user_id,
                    ticket_type=item.ticket_type,
                    # Later changes are applied as to any other ticket.
                    status=TicketStatus.ACTIVE,
                    price=item.unit_price,
                    valid_from_time=there.valid_from_time if there else offer.valid_from_time if offer else None,
                    valid_until_time=there.valid_until_time if there else offer.valid_until_time if offer else None,
                    check_in_time=None,
                    issue=1,
                    revision=inventory.revision,
                    create_time=self._now,
                    update_time=self._now,
                )
            )
        digests = {ticket.ticket_id: self._issuing.digests(self._issuing.secrets(ticket)) for ticket in new}
        insert_tickets(connection, new, digests)

    def _findings(self, purchase: Purchase, known: Mapping[int, KnownTicket], *, is_external: bool) -> list[Finding]:
        event_id, subject = purchase.event_id, str(purchase.purchase_id)
        details: dict[str, object] = {"tickets": [str(one.ticket_id) for one in known.values()]}
        found = [Finding(FindingKind.PURCHASE_RESTORED, subject, event_id, details)]
        if is_external and purchase.total:
            found.append(Finding(FindingKind.PAYMENT_ID_LOST, subject, event_id))
        return found


def _types(event: Event, known: Mapping[int, KnownTicket]) -> list[TicketType]:
    """Return the types of the tickets with the numbers from 0 to the last known one."""
    usual = event.offers[0].ticket_type if event.offers else TicketType.STANDARD
    types = list[TicketType]()
    for number in range(max(known) + 1):
        ticket = known.get(number)
        types.append(ticket.ticket_type if ticket and ticket.ticket_type else types[-1] if types else usual)
    return types
