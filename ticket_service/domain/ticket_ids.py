"""Derive the ids of tickets from their purchase, so that a lost ticket proves to which purchase it belongs.

A ticket id is a UUIDv7: the time of the first ticket of the purchase, the number of the ticket in the purchase, and a
digest of purchase and number. After a restore the scan service has the ids of lost tickets, and this database or the
payment provider has the id of their purchase: together they restore the purchase with the tickets that people hold.
Ids of tickets sold before this version are random and belong to no purchase.
"""

import hashlib
from collections.abc import Sequence
from typing import Final
from uuid import UUID

_TIME_BITS: Final = 48
_NUMBER_BITS: Final = 12
_DIGEST_BITS: Final = 62
MAX_TICKETS: Final = 1 << _NUMBER_BITS
_VERSION: Final = 7
_VARIANT: Final = 2


def ticket_ids_of(purchase_id: UUID, count: int, begin: UUID) -> Sequence[UUID]:
    """Return the ids of the tickets of a purchase, in ascending order; `begin` is an id made now.

    Raises:
        ValueError: a purchase has fewer than MAX_TICKETS tickets.
    """
    if count > MAX_TICKETS:
        raise ValueError(f"a purchase has at most {MAX_TICKETS} tickets")
    return [_ticket_id(purchase_id, number, begin.int >> (128 - _TIME_BITS)) for number in range(count)]


def number_in_purchase(ticket_id: UUID, purchase_id: UUID) -> int | None:
    """Return the number of a ticket in a purchase, from 0; None: the ticket does not belong to the purchase."""
    number = ticket_id.int >> (2 + _DIGEST_BITS) & MAX_TICKETS - 1
    expected = _ticket_id(purchase_id, number, ticket_id.int >> (128 - _TIME_BITS))
    return number if expected == ticket_id else None


def _ticket_id(purchase_id: UUID, number: int, time: int) -> UUID:
    digest = hashlib.sha256(b"ticket of purchase\0" + purchase_id.bytes + number.to_bytes(2, "big")).digest()
    value = time << 4 | _VERSION
    value = value << _NUMBER_BITS | number
    value = value << 2 | _VARIANT
    return UUID(int=value << _DIGEST_BITS | int.from_bytes(digest[:8], "big") >> 2)
