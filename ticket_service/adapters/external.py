"""The caller's own payment system, which reports payments and refunds; the service never calls it."""

from collections.abc import Sequence

from ticket_service.domain.payments import Charge, ChargeState, Progress, RefundProgress, RefundState
from ticket_service.domain.reconciliation import ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder


class ExternalPayments:
    """The payments of the caller's own system."""

    async def advance(self, _charge: Charge) -> Progress:
        """Return WAITING: ConfirmPurchase reports the payment."""
        return Progress(ChargeState.WAITING)

    async def withdraw(self, _charge: Charge) -> Progress:
        """Return WITHDRAWN; ConfirmPurchase reports a payment that the system takes nevertheless."""
        return Progress(ChargeState.WITHDRAWN)

    async def refund(self, _order: RefundOrder) -> RefundProgress:
        """Return WAITING: ConfirmRefund reports the refund."""
        return RefundProgress(RefundState.WAITING)

    async def list_refunds(self, _payment_id: str) -> Sequence[ProviderRefund]:
        """Return no refunds: ConfirmRefund reports them."""
        return ()

    async def close(self) -> None:
        """Do nothing."""
