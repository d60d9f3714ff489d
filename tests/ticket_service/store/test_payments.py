"""The statements on payments, and which of them are refunded for which cancellation."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from tests.selling.rows import NOW, sell, store_event
from ticket_service.domain.cancellations import Cancellation, CancellationStatus
from ticket_service.domain.event_cancellation import EventCancellation
from ticket_service.domain.holds import Payment, PaymentResult
from ticket_service.domain.purchases import Purchase
from ticket_service.store import cancellations, event_cancellation, holds, refund_orders, tables, ticket_refunds
from ticket_service.store.purchases import purchase_of
from ticketing.chassis.ids import new_id

FIRST = Payment("pi_1", ("EUR", 2_500), "stripe")
SECOND = Payment("pi_2", ("EUR", 2_500), "stripe")


@dataclass(frozen=True)
class Paid:
    """A ticket whose purchase was paid by FIRST, and its cancellation."""

    purchase: Purchase
    ticket_id: UUID
    cancellation_id: UUID
    engine: Engine

    def change(self, table: sa.Table, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.update(table).values(**values))


@pytest.fixture
def paid(tickets_url: URL) -> Iterator[Paid]:
    engine = sa.create_engine(tickets_url)
    with engine.begin() as connection:
        event = store_event(connection, now=NOW)
        [ticket_id] = sell(connection, event)
        purchase = purchase_of(connection.execute(sa.select(tables.purchases)).one())
        holds.insert_payment(connection, FIRST, PaymentResult(purchase), NOW)
        made = Paid(purchase, ticket_id, new_id(), engine)
        its: dict[str, Any] = {"event_id": event.event_id, "ticket_id": ticket_id, "issue": 1, "currency": "EUR"}
        terms: dict[str, Any] = {"refund_amount": 2_500, "refund_percent": 100, "reason": "", "create_time": NOW}
        status = CancellationStatus.REFUNDING
        new = Cancellation(cancellation_id=made.cancellation_id, status=status, **its, **terms)
        cancellations.insert_cancellations(connection, [new])
    yield made
    engine.dispose()


def test_a_payment_is_recorded_once(paid: Paid) -> None:
    with paid.engine.begin() as connection:
        assert holds.insert_payment(connection, SECOND, PaymentResult(paid.purchase), NOW)
        assert not holds.insert_payment(connection, SECOND, PaymentResult(paid.purchase), NOW)


def test_only_payments_due_for_a_refund_are_refunded(paid: Paid) -> None:
    with paid.engine.begin() as connection:
        assert holds.refunds_due(connection, paid.purchase) == []
        holds.insert_payment(connection, SECOND, PaymentResult(paid.purchase, refund_due=True), NOW)
        [due] = holds.refunds_due(connection, paid.purchase)
        assert (due.payment, due.refund_id) == (SECOND, None)
        assert holds.count_refunds_due(connection, paid.purchase.event_id) == 1
        holds.store_refund(connection, SECOND, "re_1")
        assert holds.count_refunds_due(connection, paid.purchase.event_id) == 0
        assert [one.refund_id for one in holds.refunds_due(connection, paid.purchase)] == ["re_1"]


def test_the_payer_of_a_ticket_made_the_completing_payment(paid: Paid) -> None:
    with paid.engine.begin() as connection:
        holds.insert_payment(connection, SECOND, PaymentResult(paid.purchase, refund_due=True), NOW)
        payer = ticket_refunds.find_payer(connection, paid.purchase.event_id, paid.purchase.purchase_id)
        assert payer is not None
        assert payer.payment_id == "pi_1"


def ordered(connection: Connection, paid: Paid) -> int:
    refund_orders.order_refunds(connection, paid.purchase.event_id, [paid.cancellation_id], NOW)
    payments = connection.execute(sa.select(tables.refund_orders.c.payment_id)).scalars().all()
    assert set(payments) <= {"pi_1"}
    return len(payments)


def test_the_refund_of_the_completing_payment_is_ordered(paid: Paid) -> None:
    with paid.engine.begin() as connection:
        holds.insert_payment(connection, SECOND, PaymentResult(paid.purchase, refund_due=True), NOW)
        assert ordered(connection, paid) == 1


@pytest.mark.parametrize("status", ["PENDING", "DONE", "REJECTED", "REFUND_FAILED"])
def test_no_refund_is_ordered_for_another_cancellation(paid: Paid, status: str) -> None:
    is_over = status in {"DONE", "REJECTED"}
    paid.change(tables.cancellations, status=status, complete_time=NOW if is_over else None)
    with paid.engine.begin() as connection:
        assert ordered(connection, paid) == 0


def test_the_callers_own_payment_system_gets_no_order(paid: Paid) -> None:
    paid.change(tables.payments, provider="external")
    with paid.engine.begin() as connection:
        assert ordered(connection, paid) == 0


def test_a_rejected_cancellation_refunds_nothing(paid: Paid) -> None:
    its = paid.purchase.event_id, paid.ticket_id
    with paid.engine.begin() as connection:
        assert ticket_refunds.cancelled_amount(connection, *its) == 2_500
        connection.execute(sa.update(tables.cancellations).values(status="REJECTED", complete_time=NOW))
        assert ticket_refunds.cancelled_amount(connection, *its) == 0


@pytest.mark.parametrize(
    ("status", "expected"),
    [("PENDING", (True, False)), ("REFUNDING", (False, False)), ("REJECTED", (False, True))],
)
def test_an_annulled_check_in_leaves_a_ticket_owed(paid: Paid, status: str, expected: tuple[bool, bool]) -> None:
    paid.change(tables.cancellations, status=status, complete_time=NOW if status == "REJECTED" else None)
    event_id = paid.purchase.event_id
    with paid.engine.begin() as connection:
        event_cancellation.insert(connection, EventCancellation(event_id, "", NOW, NOW + timedelta(hours=1)))
        owed = event_cancellation.note_annulments(connection, [event_id], [paid.ticket_id])
        noted = connection.execute(sa.select(tables.cancellations.c.check_in_annulled)).scalar_one()
    assert (noted, bool(owed)) == expected
