"""The two providers that nobody has to be called for."""

from ticket_service.domain.payments import Charge, ChargeState, Progress, RefundProgress, RefundState
from ticket_service.domain.refund_orders import RefundOrder


class Free:
    """There is nothing to take."""

    async def advance(self, _charge: Charge) -> Progress:
        """Say that it is paid."""
        return Progress(ChargeState.PAID)

    async def withdraw(self, _charge: Charge) -> Progress:
        """Say that it is paid."""
        return Progress(ChargeState.PAID)

    async def refund(self, order: RefundOrder) -> RefundProgress:
        """Say that nothing is left to give back."""
        return RefundProgress(RefundState.MADE, str(order.order_id))


class External:
    """The caller's own payment system: it tells us what it took and gave back, we never ask it."""

    async def advance(self, _charge: Charge) -> Progress:
        """Wait for ConfirmPurchase."""
        return Progress(ChargeState.WAITING)

    async def withdraw(self, _charge: Charge) -> Progress:
        """Let go; what that system takes all the same comes late, and is told with ConfirmPurchase."""
        return Progress(ChargeState.WITHDRAWN)

    async def refund(self, _order: RefundOrder) -> RefundProgress:
        """Wait for ConfirmRefund."""
        return RefundProgress(RefundState.WAITING)
