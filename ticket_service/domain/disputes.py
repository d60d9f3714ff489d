"""Disputes: a buyer asks their bank to take a payment back.

The provider withdraws the amount while a dispute is OPEN. A refund during that time could return the money twice, so
the refund orders of the payment wait. A LOST dispute has returned the money; it counts as an outside refund.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class DisputeStatus(StrEnum):
    """The status of a dispute."""

    # The bank asks a question first; no money moves, and a refund can prevent the dispute.
    INQUIRY = "INQUIRY"
    OPEN = "OPEN"
    WON = "WON"
    LOST = "LOST"
    # The inquiry or the dispute ended without a decision.
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute of one payment, in minor units."""

    event_id: UUID
    dispute_id: UUID
    provider: str
    # The provider's own id of the dispute.
    provider_id: str
    purchase_id: UUID
    payment_id: str
    currency: str
    amount: int
    status: DisputeStatus
    # The provider's code of the buyer's reason.
    reason: str
    create_time: datetime
    update_time: datetime
    # The tickets that this dispute has blocked; its end unblocks them unless it was lost.
    blocked_ticket_ids: tuple[UUID, ...] = ()


def change(dispute: Dispute, status: DisputeStatus, amount: int, now: datetime) -> Dispute:
    """Return a dispute in the state that the provider reports."""
    return replace(dispute, status=status, amount=amount, update_time=now)
