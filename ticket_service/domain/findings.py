"""Compare the provider's records of one payment with those recorded here, and decide what changed there.

Each finding results from one record of the provider, so a part of the records shows whether a payment needs a closer
look. The records come from `domain.reconciliation`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from ticket_service.domain.disputes import Dispute
from ticket_service.domain.outside_refunds import OutsideRefund
from ticket_service.domain.payments import RefundState
from ticket_service.domain.reconciliation import ProviderCharge, ProviderDispute, ProviderRefund
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus


@dataclass(frozen=True, slots=True)
class ProviderPayment:
    """The provider's records of one payment, or a part of them."""

    payment_id: str
    # None: the payment is not captured, or the listing does not show it.
    charge: ProviderCharge | None = None
    refunds: tuple[ProviderRefund, ...] = ()
    disputes: tuple[ProviderDispute, ...] = ()

    def records(self) -> Iterator["ProviderPayment"]:
        """Yield each refund and dispute as a part of its own."""
        for refund in self.refunds:
            yield ProviderPayment(self.payment_id, refunds=(refund,))
        for dispute in self.disputes:
            yield ProviderPayment(self.payment_id, disputes=(dispute,))


@dataclass(frozen=True, slots=True)
class OwnPayment:
    """What is recorded here about one payment of a provider."""

    provider: str
    payment_id: str
    # None: no payment with this id is recorded.
    purchase_id: UUID | None = None
    event_id: UUID | None = None
    # The orders by their id as the provider stores it.
    orders: Mapping[str, RefundOrder] = field(default_factory=dict)
    outside_refunds: Mapping[str, OutsideRefund] = field(default_factory=dict)
    disputes: Mapping[str, Dispute] = field(default_factory=dict)
    # The refunded amount of a payment that belongs to no purchase here; None: it is not recorded as such.
    unmatched_refunded: int | None = None


@dataclass(frozen=True, slots=True)
class NewCharge:
    """A captured charge that is not recorded as a payment."""

    charge: ProviderCharge


@dataclass(frozen=True, slots=True)
class OrderAnswered:
    """The end of a refund that was ordered here and whose order is PENDING."""

    order: RefundOrder
    refund: ProviderRefund


@dataclass(frozen=True, slots=True)
class OrderMadeAfterAll:
    """A refund that was made although its order is FAILED."""

    order: RefundOrder
    refund: ProviderRefund


@dataclass(frozen=True, slots=True)
class OrderFailedLater:
    """A refund that was made and failed later."""

    order: RefundOrder
    refund: ProviderRefund


@dataclass(frozen=True, slots=True)
class NewOutsideRefund:
    """A refund without an order, or a second refund for one order."""

    refund: ProviderRefund


@dataclass(frozen=True, slots=True)
class OutsideRefundFailed:
    """An outside refund that failed later."""

    outside: OutsideRefund


@dataclass(frozen=True, slots=True)
class DisputeChanged:
    """A new dispute, or one with another status or amount than recorded."""

    dispute: ProviderDispute


Finding = (
    NewCharge
    | OrderAnswered
    | OrderMadeAfterAll
    | OrderFailedLater
    | NewOutsideRefund
    | OutsideRefundFailed
    | DisputeChanged
)


def findings(there: ProviderPayment, own: OwnPayment) -> list[Finding]:
    """Return the differences to apply, in the order in which they are applied."""
    found: list[Finding] = []
    if there.charge is not None and own.purchase_id is None and own.unmatched_refunded is None:
        found.append(NewCharge(there.charge))
    if own.purchase_id is None:
        return found
    for refund in there.refunds:
        found.extend(_of_refund(refund, own))
    for dispute in there.disputes:
        before = own.disputes.get(dispute.dispute_id)
        if before is None or (before.status, before.amount) != (dispute.status, dispute.amount):
            found.append(DisputeChanged(dispute))
    return found


def needs_look(there: ProviderPayment, own: OwnPayment) -> bool:
    """Return whether the provider's records show anything that is not recorded here."""
    if own.unmatched_refunded is not None:
        made = sum(refund.amount for refund in there.refunds if refund.state is RefundState.MADE)
        return made > own.unmatched_refunded
    return bool(findings(there, own))


def _of_refund(refund: ProviderRefund, own: OwnPayment) -> Iterator[Finding]:
    outside = own.outside_refunds.get(refund.refund_id)
    order = own.orders.get(refund.order_id)
    if outside is not None:
        if refund.state is RefundState.REFUSED and outside.return_time is None:
            yield OutsideRefundFailed(outside)
    elif order is None or order.remaining == 0:
        if refund.is_made:
            yield NewOutsideRefund(refund)
    else:
        yield from _of_order(refund, order)


def _of_order(refund: ProviderRefund, order: RefundOrder) -> Iterator[Finding]:
    is_refused = refund.state is RefundState.REFUSED
    if refund.is_made and order.status is not RefundOrderStatus.DONE and refund.amount != order.remaining:
        # A round before made it, and the credit of the order has changed since then.
        yield NewOutsideRefund(refund)
        return
    match order.status:
        case RefundOrderStatus.PENDING:
            # A refusal counts for its own round only: a later round repeats the refund.
            if refund.is_made or (is_refused and refund.round == order.round):
                yield OrderAnswered(order, refund)
        case RefundOrderStatus.FAILED:
            if refund.is_made:
                yield OrderMadeAfterAll(order, refund)
        case RefundOrderStatus.DONE:
            if order.refund_id == refund.refund_id:
                if is_refused:
                    yield OrderFailedLater(order, refund)
            elif refund.is_made:
                yield NewOutsideRefund(refund)


def by_payment(
    charges: Sequence[ProviderCharge], refunds: Sequence[ProviderRefund], disputes: Sequence[ProviderDispute]
) -> list[ProviderPayment]:
    """Group listed records by their payment, in the order of the listing."""
    listed = (*map(_payment_of, charges), *map(_payment_of, refunds), *map(_payment_of, disputes))
    ids = dict.fromkeys(listed)
    charge_of = {charge.payment_id: charge for charge in charges}
    return [
        ProviderPayment(
            payment_id,
            charge_of.get(payment_id),
            tuple(refund for refund in refunds if refund.payment_id == payment_id),
            tuple(dispute for dispute in disputes if dispute.payment_id == payment_id),
        )
        for payment_id in ids
    ]


def _payment_of(one: ProviderCharge | ProviderRefund | ProviderDispute) -> str:
    return one.payment_id
