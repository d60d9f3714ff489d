"""Compare the payments and refunds that a provider lists with those recorded here.

Rows that one transaction wrote agree by construction, so only the provider's records prove that money moved. They are
read first, so the purchase or order of each of them is recorded here already.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ticket_service.domain.disputes import Dispute, DisputeStatus
from ticket_service.domain.outside_refunds import OutsideRefund, OutsideRefundKind
from ticket_service.domain.payments import RefundState
from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus


@dataclass(frozen=True, slots=True)
class ProviderCharge:
    """A payment that the provider captured for this service."""

    payment_id: str
    purchase_id: str
    currency: str
    amount: int
    # "" if the provider does not store it.
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund at the provider."""

    refund_id: str
    # "": this service did not order the refund.
    order_id: str
    currency: str
    amount: int
    state: RefundState
    payment_id: str
    # The round of the order; 0 without an order.
    round: int = 0
    # The provider's reason, with REFUSED.
    failure: str = ""

    @property
    def is_made(self) -> bool:
        """Return whether the money was returned."""
        return self.state is RefundState.MADE


@dataclass(frozen=True, slots=True)
class ProviderDispute:
    """A dispute at the provider."""

    dispute_id: str
    payment_id: str
    currency: str
    amount: int
    status: DisputeStatus
    reason: str


@dataclass(frozen=True, slots=True)
class ProviderRecords:
    """All payments, refunds and disputes that the provider lists."""

    # The time when the reading began; later changes may be missing.
    read_time: datetime
    charges: tuple[ProviderCharge, ...]
    refunds: tuple[ProviderRefund, ...]
    disputes: tuple[ProviderDispute, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedCharge:
    """A payment that is recorded here."""

    payment_id: str
    purchase_id: UUID
    currency: str
    amount: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class OwnRecords:
    """All payments, refunds and disputes of one provider that are recorded here."""

    charges: tuple[RecordedCharge, ...]
    orders: tuple[RefundOrder, ...]
    # Purchases whose payment may be in progress.
    held: frozenset[UUID]
    outside_refunds: tuple[OutsideRefund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    # The payments that match no purchase here.
    unmatched: frozenset[str] = frozenset()

    @property
    def outside_ids(self) -> frozenset[str]:
        """Return the ids of the outside refunds whose money did not come back."""
        return frozenset(one.refund_id for one in self.outside_refunds if one.return_time is None)


Check = Callable[[ProviderRecords, OwnRecords], Iterable[str]]


def find_unrecorded_charges(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find payments of the provider that are not recorded here; the payment of a HELD purchase may be recorded soon."""
    here = {one.payment_id: (str(one.purchase_id), one.currency, one.amount) for one in own.charges}
    held = {str(purchase_id) for purchase_id in own.held}
    for one in provider.charges:
        there = (one.purchase_id, one.currency, one.amount)
        if here.get(one.payment_id) != there and one.purchase_id not in held and one.payment_id not in own.unmatched:
            yield f"payment {one.payment_id}: {there} there, {here.get(one.payment_id, 'nothing')} here"


def find_unmatched_charges(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find payments that match no purchase here, as after a restore, and that nobody has refunded in full."""
    refunded = Counter[str]()
    for refund in provider.refunds:
        if refund.is_made:
            refunded[refund.payment_id] += refund.amount
    for one in provider.charges:
        if one.payment_id in own.unmatched and refunded[one.payment_id] < one.amount:
            yield f"payment {one.payment_id} of purchase {one.purchase_id}: {refunded[one.payment_id]} of {one.amount}"


def find_missing_charges(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find recorded payments that the provider does not list."""
    there = {one.payment_id for one in provider.charges}
    for one in own.charges:
        if one.payment_id not in there and one.create_time < provider.read_time:
            yield f"payment {one.payment_id} of purchase {one.purchase_id}: {one.amount} here, nothing there"


def find_unrecorded_refunds(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find refunds of the provider that are not recorded here; the refund of a PENDING order may be recorded soon."""
    orders = {str(order.order_id): order for order in own.orders}
    for one in provider.refunds:
        if one.state is RefundState.REFUSED or one.refund_id in own.outside_ids or one.payment_id in own.unmatched:
            continue
        order = orders.get(one.order_id)
        if order is None:
            if one.is_made or one.order_id:
                yield f"refund {one.refund_id}: {one.amount} there, not ordered here"
        elif (order.currency, order.remaining) != (one.currency, one.amount):
            yield f"refund {one.refund_id}: {one.amount} {one.currency} there, {order.remaining} {order.currency} ordered"
        elif order.status is RefundOrderStatus.FAILED and one.is_made:
            yield f"refund {one.refund_id}: {one.amount} there, refused here"
        elif order.status is RefundOrderStatus.DONE and order.refund_id != one.refund_id:
            yield f"refund {one.refund_id}: {one.amount} there, {order.refund_id} here"


def find_missing_refunds(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find recorded refunds that the provider does not list as made; a refund may fail after it was made."""
    there = {one.refund_id: one for one in provider.refunds}
    done = [
        (order.refund_id or "", order.remaining, order.complete_time)
        for order in own.orders
        if order.status is RefundOrderStatus.DONE and order.remaining and not order.is_by_hand
    ]
    outside = [
        (one.refund_id, one.amount, one.create_time)
        for one in own.outside_refunds
        if one.kind is OutsideRefundKind.REFUND and one.return_time is None
    ]
    for refund_id, amount, time in (*done, *outside):
        listed = there.get(refund_id)
        if time is not None and time < provider.read_time and (listed is None or not listed.is_made):
            state = "nothing" if listed is None else f"{listed.state} ({listed.failure})"
            yield f"refund {refund_id}: {amount} here, {state} there"


def find_repeated_refunds(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find orders that the provider refunded more than once, unless the repetition is recorded as outside refund."""
    counted = Counter(
        one.order_id
        for one in provider.refunds
        if one.order_id and one.state is not RefundState.REFUSED and one.refund_id not in own.outside_ids
    )
    for order_id, times in counted.items():
        if times > 1:
            yield f"order {order_id}: refunded {times} times"


def find_unrecorded_disputes(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find disputes of the provider that are not recorded here, or with another status or amount."""
    here = {one.provider_id: (one.status, one.amount) for one in own.disputes}
    for one in provider.disputes:
        if here.get(one.dispute_id) != (one.status, one.amount) and one.payment_id not in own.unmatched:
            recorded = here.get(one.dispute_id)
            state = "nothing" if recorded is None else f"{recorded[1]} {recorded[0]}"
            yield f"dispute {one.dispute_id} of payment {one.payment_id}: {one.amount} {one.status} there, {state} here"


CHECKS: Final[Mapping[str, Check]] = {
    "every payment of the provider is recorded here, for the same purchase and amount": find_unrecorded_charges,
    "every payment of the provider matches a purchase here, or was refunded": find_unmatched_charges,
    "every recorded payment was captured by the provider": find_missing_charges,
    "every refund of the provider was ordered or recorded here, of the same amount": find_unrecorded_refunds,
    "every recorded refund was made by the provider and has not failed": find_missing_refunds,
    "the provider refunded no order twice": find_repeated_refunds,
    "every dispute of the provider is recorded here, with its status": find_unrecorded_disputes,
}


def sums(provider: ProviderRecords, own: OwnRecords) -> list[str]:
    """Format the sums captured and refunded here and at the provider, by currency."""
    lines = []
    for currency in sorted({one.currency for one in provider.charges} | {one.currency for one in own.charges}):
        there = sum(one.amount for one in provider.charges if one.currency == currency)
        here = sum(one.amount for one in own.charges if one.currency == currency)
        lines.append(f"{currency} captured: {here} here, {there} at the provider")
        refunded_there = sum(one.amount for one in provider.refunds if one.currency == currency and one.is_made)
        lines.append(f"{currency} refunded: {refunded_here(own, currency)} here, {refunded_there} at the provider")
    return lines


def refunded_here(own: OwnRecords, currency: str) -> int:
    """Return the sum of the refunds in one currency that are recorded as made, by an order or outside of one."""
    # The provider has no refund that was paid by hand.
    done = [
        order
        for order in own.orders
        if order.status is RefundOrderStatus.DONE and order.currency == currency and not order.is_by_hand
    ]
    outside = [
        one
        for one in own.outside_refunds
        if one.kind is OutsideRefundKind.REFUND and one.return_time is None and one.currency == currency
    ]
    return sum(order.remaining for order in done) + sum(one.amount for one in outside)
