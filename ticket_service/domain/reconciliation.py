"""Comparing what a provider itself lists with what stands here. Pure.

Rows that one transaction wrote agree by construction; only somebody else's books prove anything. The provider's are
read first: so whatever stands in them was asked for by a purchase or an order that is here already.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ticket_service.domain.refund_orders import RefundOrder, RefundOrderStatus


@dataclass(frozen=True, slots=True)
class TakenThere:
    """A payment that the provider took for us."""

    payment_id: str
    purchase_id: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True)
class GivenBackThere:
    """A refund that the provider made for us, or is making."""

    refund_id: str
    order_id: str
    currency: str
    amount: int
    is_made: bool


@dataclass(frozen=True, slots=True)
class Theirs:
    """The provider's books."""

    # When reading them began; what happened later may be missing.
    read_time: datetime
    taken: tuple[TakenThere, ...]
    given_back: tuple[GivenBackThere, ...]


@dataclass(frozen=True, slots=True)
class TakenHere:
    """A payment as it stands here."""

    payment_id: str
    purchase_id: UUID
    currency: str
    amount: int
    create_time: datetime


@dataclass(frozen=True, slots=True)
class Ours:
    """Our books on that provider."""

    taken: tuple[TakenHere, ...]
    orders: tuple[RefundOrder, ...]
    # Purchases whose payment may be under way.
    held: frozenset[UUID]


Check = Callable[[Theirs, Ours], Iterable[str]]


def taken_there(theirs: Theirs, ours: Ours) -> Iterator[str]:
    """Find what was taken there and not here; of a HELD purchase it is just being settled."""
    here = {one.payment_id: (str(one.purchase_id), one.currency, one.amount) for one in ours.taken}
    held = {str(purchase_id) for purchase_id in ours.held}
    for one in theirs.taken:
        there = (one.purchase_id, one.currency, one.amount)
        if here.get(one.payment_id) != there and one.purchase_id not in held:
            yield f"payment {one.payment_id}: {there} there, {here.get(one.payment_id, 'nothing')} here"


def taken_here(theirs: Theirs, ours: Ours) -> Iterator[str]:
    """Find what was taken here and not there."""
    there = {one.payment_id for one in theirs.taken}
    for one in ours.taken:
        if one.payment_id not in there and one.create_time < theirs.read_time:
            yield f"payment {one.payment_id} of purchase {one.purchase_id}: {one.amount} here, nothing there"


def given_back_there(theirs: Theirs, ours: Ours) -> Iterator[str]:
    """Find what was given back there and not here; of a PENDING order it is just being settled."""
    orders = {str(order.order_id): order for order in ours.orders}
    for one in theirs.given_back:
        order = orders.get(one.order_id)
        if order is None:
            yield f"refund {one.refund_id}: {one.amount} there, ordered by nobody here"
        elif (order.currency, order.amount) != (one.currency, one.amount):
            yield f"refund {one.refund_id}: {one.amount} {one.currency} there, {order.amount} {order.currency} ordered"
        elif order.status is RefundOrderStatus.FAILED and one.is_made:
            yield f"refund {one.refund_id}: {one.amount} there, refused here"
        elif order.status is RefundOrderStatus.DONE and order.refund_id != one.refund_id:
            yield f"refund {one.refund_id}: {one.amount} there, {order.refund_id} here"


def given_back_here(theirs: Theirs, ours: Ours) -> Iterator[str]:
    """Find what was given back here and not there."""
    there = {one.refund_id for one in theirs.given_back if one.is_made}
    for order in ours.orders:
        is_older = order.complete_time is not None and order.complete_time < theirs.read_time
        if order.status is RefundOrderStatus.DONE and is_older and order.refund_id not in there:
            yield f"refund {order.refund_id}: {order.amount} here, nothing there"


def given_back_twice(theirs: Theirs, _ours: Ours) -> Iterator[str]:
    """Find what was given back more than once."""
    for order_id, times in Counter(one.order_id for one in theirs.given_back).items():
        if times > 1:
            yield f"order {order_id}: given back {times} times"


CHECKS: Final[Mapping[str, Check]] = {
    "what the provider took is known here, for the same purchase and amount": taken_there,
    "what was taken by what stands here was taken at the provider": taken_here,
    "what the provider gave back was ordered here, of the same amount": given_back_there,
    "what was given back by what stands here was given back at the provider": given_back_here,
    "the provider gave nothing back twice": given_back_twice,
}


def sums(theirs: Theirs, ours: Ours) -> list[str]:
    """Tell what was taken and given back, here and there, by currency."""
    lines = []
    for currency in sorted({one.currency for one in theirs.taken} | {one.currency for one in ours.taken}):
        there = sum(one.amount for one in theirs.taken if one.currency == currency)
        here = sum(one.amount for one in ours.taken if one.currency == currency)
        lines.append(f"{currency} taken: {here} here, {there} at the provider")
        back_there = sum(one.amount for one in theirs.given_back if one.currency == currency and one.is_made)
        done = [order for order in ours.orders if order.status is RefundOrderStatus.DONE]
        back_here = sum(order.amount for order in done if order.currency == currency)
        lines.append(f"{currency} given back: {back_here} here, {back_there} at the provider")
    return lines
