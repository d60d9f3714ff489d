"""The filters of the lists of one user, which select without the database."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.purchases import Purchase, PurchaseStatus
from ticket_service.domain.queries import PurchaseQuery, TicketQuery
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.ids import new_id

EVENT = make_event()
SOLD = make_sold(EVENT)
PURCHASE = Purchase(
    new_id(), EVENT.event_id, "alice", (), "EUR", 0, PurchaseStatus.COMPLETED, "free", None, {}, NOW, NOW
)


@pytest.mark.parametrize(
    ("query", "is_selected"),
    [
        (TicketQuery(None, None, "alice"), True),
        (TicketQuery(None, EVENT.event_id, "alice"), True),
        (TicketQuery(None, new_id(), "alice"), False),
        (TicketQuery(TicketStatus.ACTIVE, None, "alice"), True),
        (TicketQuery(TicketStatus.BLOCKED, None, "alice"), False),
        (TicketQuery(TicketStatus.ACTIVE, new_id(), "alice"), False),
        (TicketQuery(TicketStatus.BLOCKED, EVENT.event_id, "alice"), False),
    ],
)
def test_a_ticket_is_selected_by_event_and_status(query, is_selected):
    assert query.selects(SOLD, NOW) is is_selected


def test_a_ticket_is_selected_by_its_status_as_of_now():
    """Nothing is stored when a ticket expires."""
    expired = TicketQuery(TicketStatus.EXPIRED, None, "alice")
    assert not expired.selects(SOLD, EVENT.end_time)
    assert expired.selects(SOLD, EVENT.end_time + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("query", "is_selected"),
    [
        (PurchaseQuery(None, "alice"), True),
        (PurchaseQuery(EVENT.event_id, "alice"), True),
        (PurchaseQuery(new_id(), "alice"), False),
        (PurchaseQuery(None, "alice", status=PurchaseStatus.COMPLETED), True),
        (PurchaseQuery(None, "alice", status=PurchaseStatus.HELD), False),
        (PurchaseQuery(new_id(), "alice", status=PurchaseStatus.COMPLETED), False),
    ],
)
def test_a_purchase_is_selected_by_event_and_status(query, is_selected):
    assert query.selects(PURCHASE) is is_selected


def test_a_search_for_a_person_or_a_payment_needs_more_than_the_rows_of_a_user():
    tickets, purchases = TicketQuery(None, None, "alice"), PurchaseQuery(None, "alice")
    assert tickets.is_of_user_alone
    assert purchases.is_of_user_alone
    assert not replace(tickets, email="alice@example.com").is_of_user_alone
    assert not replace(tickets, holder="ann").is_of_user_alone
    assert not replace(purchases, email="alice@example.com").is_of_user_alone
    assert not replace(purchases, payment_id="pay-1").is_of_user_alone
