"""Corrected addresses of a running service, with the mails that a real SMTP server receives."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tests.environment.refusals import refusal
from tests.environment.waiting import until
from tests.selling.shop import Shop, new_id
from tests.stand_ins.smtp import Mailbox
from ticket_service.domain.events import Event
from ticket_service.store.events import lock_event
from ticket_service.store.tables import tickets
from ticketing.tickets.v1 import change_pb2, change_service_pb2, purchase_pb2, purchase_service_pb2, ticket_service_pb2
from ticketing.tickets.v1.change_service_pb2_grpc import ChangeServiceStub
from ticketing.tickets.v1.ticket_service_pb2_grpc import TicketServiceStub

pytestmark = pytest.mark.slow

WRONG, RIGHT = "alice@exampel.com", "alice@example.com"


@pytest.fixture
def service(mailing_service: str) -> str:
    return mailing_service


async def correct(shop: Shop, by: tuple[str, str] = Shop.ALICE, **fields: str) -> None:
    request = purchase_service_pb2.CorrectEmailRequest(**{"request_id": new_id(), "email": RIGHT, **fields})
    await shop.purchases.CorrectEmail(request, metadata=shop.metadata(by))


async def bought(shop: Shop) -> purchase_pb2.Purchase:
    event = await shop.on_sale()
    return await shop.buy(event.event_id, quantity=2, email=WRONG)


def recipients(mailbox: Mailbox) -> list[str]:
    return [str(mail["To"]) for mail in mailbox.mails]


async def test_the_mail_is_sent_again_to_the_corrected_address(shop, mailbox, channel):
    purchase = await bought(shop)
    await until(lambda: recipients(mailbox), [WRONG])
    request_id = new_id()
    for _ in range(2):
        await correct(shop, request_id=request_id, purchase_id=purchase.purchase_id)
    await until(lambda: recipients(mailbox), [WRONG, RIGHT])
    first, second = mailbox.mails
    assert second["Subject"] == first["Subject"]
    event = await shop.get(purchase.event_id, Shop.OLGA)
    event.location = "Big hall"
    await shop.update(event, "location")
    # The old address gets nothing more.
    await until(lambda: recipients(mailbox), [WRONG, RIGHT, RIGHT])
    changes = await ChangeServiceStub(channel).ListChanges(
        change_service_pb2.ListChangesRequest(purchase_id=purchase.purchase_id), metadata=shop.metadata(Shop.OLGA)
    )
    [change] = changes.changes
    assert (change.kind, change.caller) == (change_pb2.CHANGE_KIND_EMAIL_CORRECTED, "alice")
    assert "example.com" not in str(change)


async def test_the_address_of_a_transferred_ticket_is_corrected_alone(shop, mailbox, channel):
    purchase = await bought(shop)
    await until(lambda: recipients(mailbox), [WRONG])
    transfer = ticket_service_pb2.TransferTicketRequest(
        ticket_id=purchase.tickets[0].ticket_id, request_id=new_id(), user_id="bob", email="bob@exampel.com"
    )
    await TicketServiceStub(channel).TransferTicket(transfer, metadata=shop.metadata())
    # The buyer gets a mail too: the old code is void.
    await until(lambda: recipients(mailbox), [WRONG, "bob@exampel.com", WRONG])
    fields: dict[str, Any] = {"ticket_id": purchase.tickets[0].ticket_id, "email": "bob@example.com"}
    assert (await refusal(correct(shop, **fields))).reason == "TICKET_NOT_FOUND"
    await correct(shop, ("user", "bob"), **fields)
    await until(lambda: recipients(mailbox)[-1], "bob@example.com")
    await correct(shop, purchase_id=purchase.purchase_id)
    await until(lambda: recipients(mailbox)[-1], RIGHT)
    # The new holder gets no mail about the buyer's address, and the buyer's mail contains no ticket of theirs.
    assert recipients(mailbox).count("bob@example.com") == 1
    assert len([part for part in mailbox.mails[-1].walk() if part.get_content_type() == "application/pdf"]) == 1


async def test_a_former_holder_corrects_no_address_of_the_next_one(shop, monkeypatch):
    [ticket, _] = (await bought(shop)).tickets

    def transfer_first(connection: Connection, event_id: UUID) -> Event | None:
        # A transfer commits while the correction waits for the lock of the event.
        its = tickets.c.ticket_id == UUID(ticket.ticket_id)
        connection.execute(sa.update(tickets).where(its).values(user_id="bob"))
        return lock_event(connection, event_id)

    monkeypatch.setattr("ticket_service.use_cases.contacts.lock_event", transfer_first)
    assert (await refusal(correct(shop, ("user", "alice"), ticket_id=ticket.ticket_id))).reason == "TICKET_NOT_FOUND"


async def test_corrections_are_bounded_by_the_day(shop, clock):
    purchase = await bought(shop)
    fields: dict[str, Any] = {"purchase_id": purchase.purchase_id}
    for number in range(5):
        await correct(shop, email=f"a{number}@example.com", **fields)
    refused = await refusal(correct(shop, **fields))
    assert (refused.reason, refused.metadata) == ("EMAIL_LIMIT", {"max": "5", "within_seconds": "86400"})
    assert refused.retry_seconds == 86_400
    assert (await refusal(correct(shop, Shop.OLGA, **fields))).reason == "EMAIL_LIMIT"
    clock.advance(timedelta(days=1))
    await correct(shop, **fields)


async def test_one_user_corrects_twenty_addresses_a_day(shop):
    event = await shop.on_sale()
    purchases = [await shop.buy(event.event_id) for _ in range(5)]
    for number in range(20):
        await correct(shop, email=f"a{number}@example.com", purchase_id=purchases[number % 4].purchase_id)
    last: dict[str, Any] = {"purchase_id": purchases[4].purchase_id}
    assert (await refusal(correct(shop, **last))).metadata["max"] == "20"
    await correct(shop, Shop.BACKEND, **last)


async def test_a_request_id_belongs_to_one_correction(shop):
    purchase = await bought(shop)
    fields: dict[str, Any] = {"request_id": new_id(), "purchase_id": purchase.purchase_id}
    await correct(shop, **fields)
    assert (await refusal(correct(shop, email="eve@example.com", **fields))).reason == "REQUEST_ID_REUSED"
    ticket: dict[str, Any] = {"request_id": fields["request_id"], "ticket_id": purchase.tickets[0].ticket_id}
    assert (await refusal(correct(shop, **ticket))).reason == "REQUEST_ID_REUSED"


async def test_only_valid_addresses_of_visible_purchases_are_corrected(shop):
    purchase = await bought(shop)
    assert (await refusal(correct(shop, purchase_id=purchase.purchase_id, email="<a@example.com>"))).fields == {"email"}
    assert (await refusal(correct(shop, purchase_id=purchase.purchase_id, email=""))).fields == {"email"}
    for by in (("user", "bob"), ("organizer", "otto")):
        assert (await refusal(correct(shop, by, purchase_id=purchase.purchase_id))).reason == "PURCHASE_NOT_FOUND"
