"""Money that returned to a buyer without a refund order: refunds made in the provider's dashboard, and lost disputes.

Such money counts for the refunds that become due later: an order takes credit from it, and the provider refunds only
the remaining amount. The buyer gets at least what is owed, and no amount is returned twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus


class OutsideRefundKind(StrEnum):
    """The cause of an outside refund."""

    # A person or another system made the refund at the provider.
    REFUND = "REFUND"
    # The provider paid the amount of a lost dispute back to the buyer.
    DISPUTE = "DISPUTE"


@dataclass(frozen=True, slots=True)
class OutsideRefund:
    """A refund of one payment that this service did not order, in minor units."""

    event_id: UUID
    provider: str
    # The provider's id of the refund or of the dispute.
    refund_id: str
    purchase_id: UUID
    payment_id: str
    kind: OutsideRefundKind
    currency: str
    amount: int
    create_time: datetime
    # The part of the amount that counts for refund orders.
    credited: int = 0
    # The time when the money came back: the refund failed later, or the dispute was decided anew.
    return_time: datetime | None = None

    @property
    def credit(self) -> int:
        """Return the amount that no refund order has taken yet."""
        return 0 if self.return_time is not None else self.amount - self.credited


@dataclass(frozen=True, slots=True)
class Crediting:
    """An order after it has taken credit, and the outside refunds that gave it."""

    order: RefundOrder
    sources: tuple[OutsideRefund, ...]


def take_credit(order: RefundOrder, outside: Sequence[OutsideRefund], now: datetime) -> Crediting:
    """Take the credit of outside refunds for an order that is not DONE; full credit makes the order DONE.

    The caller ensures that no try of the order is under way. A FAILED order becomes PENDING in a new round if the credit
    covers a part of its amount.
    """
    sources = []
    missing = order.remaining
    for one in outside:
        taken = min(missing, one.credit)
        if taken > 0:
            sources.append(replace(one, credited=one.credited + taken))
            missing -= taken
    if not sources:
        return Crediting(order, ())
    credited = order.amount - missing
    # A refused round has ended, and the next one asks for another amount.
    round_ = order.round + 1 if order.status is RefundOrderStatus.FAILED else order.round
    if missing:
        after = replace(
            order, credited=credited, status=RefundOrderStatus.PENDING, round=round_, due_time=order.due_time or now
        )
    else:
        after = replace(
            order,
            credited=credited,
            status=RefundOrderStatus.DONE,
            round=round_,
            refund_id=sources[-1].refund_id,
            complete_time=now,
            due_time=None,
        )
    return Crediting(after, tuple(sources))


def of_order(order: RefundOrder, now: datetime) -> OutsideRefund:
    """Return the refund that a provider made for a part of a DONE order as one whose whole amount counts for the order.

    The credit for the rest of the order has come back: the order is due again, and its next refund is of the rest alone.
    """
    return OutsideRefund(
        event_id=order.event_id,
        provider=order.provider,
        refund_id=order.refund_id or "",
        purchase_id=order.purchase_id,
        payment_id=order.payment_id,
        kind=OutsideRefundKind.REFUND,
        currency=order.currency,
        amount=order.remaining,
        create_time=now,
        credited=order.remaining,
    )


def give_back(outside: OutsideRefund, credited: int, now: datetime) -> OutsideRefund:
    """Return an outside refund whose money came back; `credited` is the part that still counts for orders."""
    return replace(outside, credited=credited, return_time=now)
