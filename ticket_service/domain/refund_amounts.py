"""Decide which amounts an organizer may refund for a ticket."""

from ticket_service.domain.reasons import Reason
from ticket_service.domain.tickets import SoldTicket
from ticketing.chassis.failures import Failure


def check_amount(sold: SoldTicket, wanted: tuple[str, int], minimum: int, maximum: int) -> int:
    """Return the amount that an organizer wants to refund; raise REFUND_OUT_OF_RANGE if it is outside the bounds."""
    currency, amount = wanted
    if currency != sold.event.currency or not minimum <= amount <= maximum:
        raise Failure(
            Reason.REFUND_OUT_OF_RANGE,
            f"{minimum} to {maximum} {sold.event.currency} in minor units can be refunded"
            if minimum <= maximum
            else "nothing of the price is left to refund",
            ticket_id=sold.ticket.ticket_id,
            min=minimum,
            max=maximum,
            currency_code=sold.event.currency,
        )
    return amount
