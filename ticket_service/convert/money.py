"""Conversion of amounts of money."""

import re
from typing import Final, TypeVar

from google.protobuf.message import Message

from ticket_service.domain.currencies import CURRENCIES
from ticketing.chassis.parsing import Fields
from ticketing.tickets.v1 import money_pb2

_CURRENCY: Final = re.compile(r"[A-Z]{3}")
M = TypeVar("M", bound=Message)


def money_message(currency: str, minor_units: int) -> money_pb2.Money:
    """Build the message of an amount."""
    return money_pb2.Money(currency_code=currency, minor_units=minor_units)


def read_price(fields: Fields[M], field: str, money: money_pb2.Money) -> tuple[str, int]:
    """Read the currency and the minor units of the amount in `field`, up to the maximum of that field."""
    amount = fields.inside(field, money)
    if not _CURRENCY.fullmatch(money.currency_code):
        amount.violate("currency_code", "is not three upper-case letters (ISO 4217)")
    return money.currency_code, amount.number("minor_units", maximum=fields.bounds(field).maximum)


def read_new_price(fields: Fields[M], field: str) -> tuple[str, int]:
    """Read the required amount in `field`, in a currency of ISO 4217 that people pay with."""
    if fields.message.HasField(field):
        money = getattr(fields.message, field)
        currency, minor_units = read_price(fields, field, money)
        amount = fields.inside(field, money)
        if currency not in CURRENCIES and not amount.at_fault("currency_code"):
            amount.violate("currency_code", "is not a currency of ISO 4217 that people pay with")
        return currency, minor_units
    fields.violate(field, "is required")
    return "", 0
