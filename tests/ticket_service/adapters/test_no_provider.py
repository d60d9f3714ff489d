import uuid
from datetime import UTC, datetime

from ticket_service.adapters.no_provider import External, Free
from ticket_service.domain.payments import Charge, ChargeState, RefundState
from ticket_service.domain.purchases import Provider
from ticket_service.domain.refund_orders import RefundOrder

CHARGE = Charge(uuid.uuid4(), uuid.uuid4(), "EUR", 0, None, None)
NOW = datetime.now(UTC)
ORDER = RefundOrder(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), None, Provider.EXTERNAL, "pay-1", "EUR", 1, NOW, NOW)


async def test_what_is_free_is_paid_and_given_back_by_itself():
    free = Free()
    assert (await free.advance(CHARGE)).state is (await free.withdraw(CHARGE)).state is ChargeState.PAID
    assert (await free.refund(ORDER)).state is RefundState.MADE


async def test_what_the_callers_own_system_takes_is_waited_for():
    external = External()
    assert (await external.advance(CHARGE)).state is ChargeState.WAITING
    assert (await external.withdraw(CHARGE)).state is ChargeState.WITHDRAWN
    assert (await external.refund(ORDER)).state is RefundState.WAITING
