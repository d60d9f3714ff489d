import uuid
from datetime import UTC, datetime

from ticket_service.adapters.external import ExternalPayments
from ticket_service.domain.payments import Charge, ChargeState, RefundState
from ticket_service.domain.purchases import EXTERNAL
from ticket_service.domain.refund_orders import RefundOrder

CHARGE = Charge(uuid.uuid4(), uuid.uuid4(), "EUR", 0, None, None)
NOW = datetime.now(UTC)
ORDER = RefundOrder(uuid.uuid4(), uuid.uuid4(), uuid.uuid4(), None, EXTERNAL, "pay-1", "EUR", 1, NOW, NOW)


async def test_external_payments_wait_for_reports_of_the_caller():
    external = ExternalPayments()
    assert (await external.advance(CHARGE)).state is ChargeState.WAITING
    assert (await external.withdraw(CHARGE)).state is ChargeState.WITHDRAWN
    assert (await external.refund(ORDER)).state is RefundState.WAITING
