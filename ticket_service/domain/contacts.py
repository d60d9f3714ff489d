"""Bound the corrections of addresses, so that nobody mails strangers at will."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from ticket_service.domain.reasons import Reason
from ticketing.chassis.failures import RETRY_SOON, Failure

DAY: Final = timedelta(days=1)
MAX_OF_PURCHASE: Final = 5
MAX_BY_USER: Final = 20


@dataclass(frozen=True, slots=True)
class EmailCorrection:
    """A request to correct the address of a purchase's buyer, or of the present holder of a ticket."""

    request_id: UUID
    # The id of the purchase or of the ticket.
    target_id: UUID
    is_of_ticket: bool
    email: str
    # The normalised BCP 47 tag of the purchase's mails and files; "": it stays.
    language: str = ""


def check_rate(earlier: Sequence[datetime], maximum: int, now: datetime) -> None:
    """Raise EMAIL_LIMIT after `maximum` corrections within a day; `earlier` are their times, oldest first."""
    if len(earlier) >= maximum:
        retry_after = max(earlier[-maximum] + DAY - now, RETRY_SOON)
        message = f"at most {maximum} corrections of addresses a day are made"
        seconds = round(DAY.total_seconds())
        raise Failure(Reason.EMAIL_LIMIT, message, retry_after=retry_after, max=maximum, within_seconds=seconds)
