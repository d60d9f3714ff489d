"""Amounts of money."""

import re
from typing import Final

from ticket_service.domain.events import MAX_PRICE
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import money_pb2

_CURRENCY: Final = re.compile(r"[A-Z]{3}")


def money_message(currency: str, minor_units: int) -> money_pb2.Money:
    """Build the message of an amount."""
    return money_pb2.Money(currency_code=currency, minor_units=minor_units)


def read_price(fields: Fields, field: str, money: money_pb2.Money, maximum: int = MAX_PRICE) -> tuple[str, int]:
    """Read a currency and an amount of 0 to `most`."""
    if not _CURRENCY.fullmatch(money.currency_code):
        fields.violate(f"{field}.currency_code", "is not three upper-case letters (ISO 4217)")
    return money.currency_code, fields.number(f"{field}.minor_units", money.minor_units, minimum=0, maximum=maximum)
