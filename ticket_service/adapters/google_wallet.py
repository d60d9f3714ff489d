"""Write the link that saves a ticket to Google Wallet: a JWT with an event ticket, signed by a service account.

Google creates the class and the object of the JWT when a person saves the ticket, and never changes them by a later JWT.
The id of a class therefore has the version of the event, and that of an object the issue of the ticket.
"""

import base64
import json
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.api_jws import PyJWS

from ticket_service.adapters.words import Words, words_of
from ticket_service.domain.calendar_entries import is_valid
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.page_design import design_of
from ticket_service.domain.tickets import SoldTicket, TicketStatus, ticket_hours
from ticket_service.domain.wallets import GooglePasses
from ticket_service.domain.zones import zone_of

SAVE: Final = "https://pay.google.com/gp/v/save/"
# Google calls this length safe: browsers and mail programs cut longer links.
MAX_LENGTH: Final = 1800
# The characters of the event's name in a link that is too long, tried in order.
_SHORT_NAMES: Final = (60, 30, 15)


def save_link(drawing: Drawing, passes: GooglePasses) -> bytes:
    """Write the link of one ticket; a link that would be too long has fewer details, and at last a shorter name.

    Raises:
        ValueError: the shortest link is too long, because the names of the issuer are.
    """
    [ticket] = drawing.tickets
    for ticket_class, ticket_object in _candidates(drawing, ticket, passes):
        claims = {
            "iss": passes.account_email,
            "aud": "google",
            "typ": "savetowallet",
            "iat": int(drawing.now.timestamp()),
            "origins": [],
            "payload": {"eventTicketClasses": [ticket_class], "eventTicketObjects": [ticket_object]},
        }
        # PyJWT would write letters beyond ASCII in six characters each.
        content = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode()
        link = SAVE + PyJWS().encode(content, _loaded(passes.key), "RS256", {"typ": "JWT"})
        if len(link) <= MAX_LENGTH:
            return link.encode()
    raise ValueError("a link to Google Wallet is too long; the name of the issuer may be too long")


def _candidates(
    drawing: Drawing, ticket: PrintedTicket, passes: GooglePasses
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield class and object of a ticket, each pair shorter than the one before: the least useful part is dropped first."""
    words = words_of(drawing.language)
    ticket_class = _class_of(drawing, ticket.sold, words, passes)
    ticket_object = _object_of(drawing, ticket, words, ticket_class["id"])
    yield ticket_class, ticket_object
    for part, name in (
        (ticket_object, "reservationInfo"),
        (ticket_class, "hexBackgroundColor"),
        (ticket_class["dateTime"], "doorsOpen"),
        (ticket_object, "validTimeInterval"),
        (ticket_object.get("barcode", {}), "alternateText"),
        (ticket_class, "venue"),
    ):
        if part.pop(name, None) is not None:
            yield ticket_class, ticket_object
    for length in _SHORT_NAMES:
        if len(ticket.sold.event.name) > length:
            ticket_class["eventName"] = _localised(words, ticket.sold.event.name[: length - 1] + "…")
            yield ticket_class, ticket_object


def _class_of(drawing: Drawing, sold: SoldTicket, words: Words, passes: GooglePasses) -> dict[str, Any]:
    event = sold.event
    starts, ends = ticket_hours(sold)
    hours = {"start": _local(starts, sold), "end": _local(ends, sold)}
    if event.doors_open_time is not None and starts == event.start_time:
        hours["doorsOpen"] = _local(event.doors_open_time, sold)
    ticket_class: dict[str, Any] = {
        # Day tickets have hours of their own.
        "id": f"{passes.issuer_id}.{_short(event.event_id)}-{event.version}-{int(starts.timestamp()):x}",
        "issuerName": passes.issuer_name,
        "reviewStatus": "UNDER_REVIEW",
        "eventName": _localised(words, event.name),
        "dateTime": hours,
        "hexBackgroundColor": design_of(event.metadata, drawing.design).color,
    }
    if event.location:
        name, _, address = event.location.partition("\n")
        ticket_class["venue"] = {"name": _localised(words, name), "address": _localised(words, address or name)}
    return ticket_class


def _object_of(drawing: Drawing, ticket: PrintedTicket, words: Words, class_id: str) -> dict[str, Any]:
    sold = ticket.sold
    ticket_object: dict[str, Any] = {
        "id": f"{class_id.partition('.')[0]}.{_short(sold.ticket.ticket_id)}-{sold.ticket.issue}",
        "classId": class_id,
        "state": _state(sold, drawing.now),
        "ticketType": _localised(words, words.ticket_types[sold.ticket.ticket_type]),
        "reservationInfo": {"confirmationCode": str(sold.ticket.purchase_id)},
        "validTimeInterval": {"end": {"date": _local(max(sold.valid_until, ticket_hours(sold)[1]), sold)}},
    }
    if is_valid(sold):
        token, code = ticket.secrets.token, ticket.secrets.code
        ticket_object["barcode"] = {"type": "QR_CODE", "value": token, "alternateText": code}
    return ticket_object


def _state(sold: SoldTicket, now: datetime) -> str:
    if not is_valid(sold):
        return "INACTIVE"
    return {TicketStatus.EXPIRED: "EXPIRED", TicketStatus.USED: "COMPLETED"}.get(sold.status_at(now), "ACTIVE")


def _localised(words: Words, text: str) -> dict[str, dict[str, str]]:
    return {"defaultValue": {"language": words.language, "value": text}}


def _short(number: UUID) -> str:
    """Write a UUID in the 22 letters, digits, "-" and "_" that the ids of Google Wallet may have."""
    return base64.urlsafe_b64encode(number.bytes).decode().rstrip("=")


def _local(time: datetime, sold: SoldTicket) -> str:
    return time.astimezone(zone_of(sold.event.time_zone, time)).isoformat(timespec="seconds")


@lru_cache(maxsize=2)
def _loaded(key: bytes) -> Any:
    # Loading a key checks it, which takes longer than a signature.
    return load_pem_private_key(key, None)
