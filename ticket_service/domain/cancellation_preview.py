"""Decide what the cancellation of an event would do to its tickets, and to the money paid for them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ticket_service.domain.purchases import EXTERNAL


class TicketOutcome(StrEnum):
    """What the cancellation of its event does to a ticket."""

    # The service refunds the price through the payment provider.
    REFUNDED = "REFUNDED"
    # The caller's own payment system must refund the price.
    REFUND_REQUESTED = "REFUND_REQUESTED"
    # The refund is due, and waits until the payment provider has settings.
    PROVIDER_NOT_CONFIGURED = "PROVIDER_NOT_CONFIGURED"
    # The ticket is cancelled, and nothing was paid for it, or everything is refunded already.
    FREE = "FREE"
    # The ticket stays valid, and nothing is refunded.
    CHECKED_IN = "CHECKED_IN"
    # The ticket was cancelled before, and its refund stays as it is.
    ALREADY_CANCELLED = "ALREADY_CANCELLED"


@dataclass(frozen=True, slots=True)
class TicketGroup:
    """The tickets of an event that have these values in common, and the sum of their prices in minor units."""

    is_cancelled: bool
    is_checked_in: bool
    is_free: bool
    provider: str
    currency: str
    tickets: int
    paid: int
    # The price paid, less the refunds without a cancellation.
    left: int


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """The tickets with one outcome, currency and provider; amounts in minor units."""

    outcome: TicketOutcome
    provider: str
    currency: str
    tickets: int
    paid: int
    # The price paid, less the refunds without a cancellation.
    left: int

    @property
    def refund(self) -> int:
        """Return the sum that the cancellation makes due."""
        return self.left if self.outcome in REFUNDING else 0


@dataclass(frozen=True, slots=True)
class CancellationPreview:
    """The effect of a cancellation on all tickets and holds of an event."""

    lines: Sequence[PreviewLine]
    # The places of unpaid holds, which end; a payment that arrives later is refunded.
    held_places: int


REFUNDING = frozenset({TicketOutcome.REFUNDED, TicketOutcome.REFUND_REQUESTED, TicketOutcome.PROVIDER_NOT_CONFIGURED})


def preview_lines(groups: Iterable[TicketGroup], configured: Collection[str]) -> list[PreviewLine]:
    """Return the lines of a preview, ordered; `configured` are the payment providers that have settings."""
    lines: dict[tuple[TicketOutcome, str, str], PreviewLine] = {}
    for group in groups:
        key = (outcome_of(group, configured), group.provider, group.currency)
        before = lines.get(key, PreviewLine(*key, tickets=0, paid=0, left=0))
        lines[key] = PreviewLine(
            *key, before.tickets + group.tickets, before.paid + group.paid, before.left + group.left
        )
    order = list(TicketOutcome)
    return sorted(lines.values(), key=lambda line: (order.index(line.outcome), line.currency, line.provider))


def outcome_of(group: TicketGroup, configured: Collection[str]) -> TicketOutcome:
    """Return the outcome of the tickets of a group."""
    if group.is_cancelled:
        return TicketOutcome.ALREADY_CANCELLED
    if group.is_checked_in:
        return TicketOutcome.CHECKED_IN
    if group.is_free:
        return TicketOutcome.FREE
    if group.provider == EXTERNAL:
        return TicketOutcome.REFUND_REQUESTED
    return TicketOutcome.REFUNDED if group.provider in configured else TicketOutcome.PROVIDER_NOT_CONFIGURED
