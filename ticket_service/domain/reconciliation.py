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

from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus


@dataclass(frozen=True, slots=True)
class ProviderCharge:
    """A payment that the provider captured for this service."""

    payment_id: str
    purchase_id: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True)
class ProviderRefund:
    """A refund that the provider made for this service, or is making."""

    refund_id: str
    order_id: str
    currency: str
    amount: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class ProviderRecords:
    """All payments and refunds that the provider lists."""

    # The time when the reading began; later changes may be missing.
    read_time: datetime
    charges: tuple[ProviderCharge, ...]
    refunds: tuple[ProviderRefund, ...]


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
    """All payments and refund orders of one provider that are recorded here."""

    charges: tuple[RecordedCharge, ...]
    orders: tuple[RefundOrder, ...]
    # Purchases whose payment may be in progress.
    held: frozenset[UUID]


Check = Callable[[ProviderRecords, OwnRecords], Iterable[str]]


def find_unrecorded_charges(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find payments of the provider that are not recorded here; the payment of a HELD purchase may be recorded soon."""
    here = {one.payment_id: (str(one.purchase_id), one.currency, one.amount) for one in own.charges}
    held = {str(purchase_id) for purchase_id in own.held}
    for one in provider.charges:
        there = (one.purchase_id, one.currency, one.amount)
        if here.get(one.payment_id) != there and one.purchase_id not in held:
            yield f"payment {one.payment_id}: {there} there, {here.get(one.payment_id, 'nothing')} here"


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
        order = orders.get(one.order_id)
        if order is None:
            yield f"refund {one.refund_id}: {one.amount} there, not ordered here"
        elif (order.currency, order.amount) != (one.currency, one.amount):
            yield f"refund {one.refund_id}: {one.amount} {one.currency} there, {order.amount} {order.currency} ordered"
        elif order.status is RefundOrderStatus.FAILED and one.is_made:
            yield f"refund {one.refund_id}: {one.amount} there, refused here"
        elif order.status is RefundOrderStatus.DONE and order.refund_id != one.refund_id:
            yield f"refund {one.refund_id}: {one.amount} there, {order.refund_id} here"


def find_missing_refunds(provider: ProviderRecords, own: OwnRecords) -> Iterator[str]:
    """Find recorded refunds that the provider does not list as made."""
    there = {one.refund_id for one in provider.refunds if one.is_made}
    for order in own.orders:
        is_older = order.complete_time is not None and order.complete_time < provider.read_time
        if order.status is RefundOrderStatus.DONE and is_older and order.refund_id not in there:
            yield f"refund {order.refund_id}: {order.amount} here, nothing there"


def find_repeated_refunds(provider: ProviderRecords, _own: OwnRecords) -> Iterator[str]:
    """Find orders that the provider refunded more than once."""
    for order_id, times in Counter(one.order_id for one in provider.refunds).items():
        if times > 1:
            yield f"order {order_id}: refunded {times} times"


CHECKS: Final[Mapping[str, Check]] = {
    "every payment of the provider is recorded here, for the same purchase and amount": find_unrecorded_charges,
    "every recorded payment was captured by the provider": find_missing_charges,
    "every refund of the provider was ordered here, of the same amount": find_unrecorded_refunds,
    "every recorded refund was made by the provider": find_missing_refunds,
    "the provider refunded no order twice": find_repeated_refunds,
}


def sums(provider: ProviderRecords, own: OwnRecords) -> list[str]:
    """Format the sums captured and refunded here and at the provider, by currency."""
    lines = []
    for currency in sorted({one.currency for one in provider.charges} | {one.currency for one in own.charges}):
        there = sum(one.amount for one in provider.charges if one.currency == currency)
        here = sum(one.amount for one in own.charges if one.currency == currency)
        lines.append(f"{currency} captured: {here} here, {there} at the provider")
        refunded_there = sum(one.amount for one in provider.refunds if one.currency == currency and one.is_made)
        done = [order for order in own.orders if order.status is RefundOrderStatus.DONE]
        refunded_here = sum(order.amount for order in done if order.currency == currency)
        lines.append(f"{currency} refunded: {refunded_here} here, {refunded_there} at the provider")
    return lines
