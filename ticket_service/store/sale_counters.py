"""Count sold and cancelled tickets, refunds and ended purchases for the metrics, once their transaction has committed.

A process that is killed between a commit and its count loses the count: the books are the ledger, not the metrics.
"""

from collections import Counter as Count
from collections.abc import Sequence
from functools import cache
from typing import Final, cast

from prometheus_client import Counter

from ticket_service.domain.currencies import decimals
from ticket_service.domain.notifications import Kind, Notification
from ticket_service.domain.purchases import Purchase, PurchaseStatus

PURCHASES: Final = Counter("ticketing_purchases_total", "Purchases that reached a status.", ["status"])
SOLD: Final = Counter("ticketing_tickets_sold_total", "Tickets sold, also free ones.", ["currency"])
# Whole units of the currency, as Prometheus asks for base units: boards need no table of minor units.
SALES: Final = Counter(
    "ticketing_sales_amount_total", "Prices of the tickets sold, in whole units of the currency.", ["currency"]
)
CANCELLED: Final = Counter("ticketing_tickets_cancelled_total", "Tickets cancelled.", ["currency"])
REFUNDS: Final = Counter("ticketing_refunds_total", "Refunds that reached an outcome.", ["outcome"])
REFUNDED: Final = Counter(
    "ticketing_refunded_amount_total", "Money that returned to buyers, in whole units of the currency.", ["currency"]
)
DISPUTES: Final = Counter("ticketing_disputes_opened_total", "Disputes that banks opened.", ["currency"])

# The label of each kind of notification.
OUTCOMES: Final = {Kind.REFUND_MADE: "made", Kind.REFUND_FAILED: "failed", Kind.REFUND_RECORDED: "recorded"}

_purchases, _sold, _sales = cache(PURCHASES.labels), cache(SOLD.labels), cache(SALES.labels)


def count_sales(sales: Sequence[tuple[Purchase, int]]) -> None:
    """Count the new purchases of a sales batch, each with the number of its tickets."""
    statuses, tickets, totals = Count[PurchaseStatus](), Count[str](), Count[str]()
    for purchase, quantity in sales:
        statuses[purchase.status] += 1
        if quantity:
            tickets[purchase.currency] += quantity
            totals[purchase.currency] += purchase.total
    for status, number in statuses.items():
        _purchases(status).inc(number)
    for currency, number in tickets.items():
        _sold(currency).inc(number)
        _sales(currency).inc(units(currency, totals[currency]))


def count_end(status: PurchaseStatus) -> None:
    """Count a HELD purchase that ended without a notification."""
    _purchases(status).inc()


def count_changes(notifications: Sequence[Notification]) -> None:
    """Count the changes that cause these notifications; a sales batch counts its own."""
    for one in notifications:
        kind, data = one.kind, one.data
        currency = str(data.get("currency_code", ""))
        amount = units(currency, cast(int, data.get("minor_units", 0)))
        if kind is Kind.HOLD_EXPIRED:
            _purchases(PurchaseStatus.EXPIRED).inc()
        elif kind is Kind.PURCHASE_COMPLETED:
            _purchases(PurchaseStatus.COMPLETED).inc()
            _sold(currency).inc(len(cast(Sequence[str], data["ticket_ids"])))
            _sales(currency).inc(amount)
        elif kind is Kind.TICKET_CANCELLED:
            CANCELLED.labels(currency).inc()
        elif kind is Kind.DISPUTE_OPENED:
            DISPUTES.labels(currency).inc()
        elif (outcome := OUTCOMES.get(kind)) is not None:
            REFUNDS.labels(outcome).inc()
            if outcome != "failed":
                REFUNDED.labels(currency).inc(amount)


def units(currency: str, minor_units: int) -> float:
    """Return an amount in whole units of its currency."""
    return float(minor_units / 10 ** decimals(currency))
