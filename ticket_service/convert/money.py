"""Conversion of amounts of money."""

import re
from typing import Final, TypeVar

from google.protobuf.message import Message

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


def read_required_price(fields: Fields[M], field: str) -> tuple[str, int]:
    """Read the amount in `field`; it is at fault where it is absent."""
    if fields.message.HasField(field):
        return read_price(fields, field, getattr(fields.message, field))
    fields.violate(field, "is required")
    return "", 0
