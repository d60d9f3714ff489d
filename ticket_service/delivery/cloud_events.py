"""Notifications as CloudEvents 1.0, in the structured JSON mode that every receiver gets."""

import json
from typing import Final

from ticket_service.domain.notifications import Delivery

MEDIA_TYPE: Final = "application/cloudevents+json"
SOURCE: Final = "/ticketing/tickets"


def cloud_event(delivery: Delivery) -> dict[str, object]:
    """Build the event; `id` is what receivers tell one that came twice by."""
    told = delivery.notification
    ids = {"event_id": told.event_id, "purchase_id": told.purchase_id, "ticket_id": told.ticket_id}
    named = {name: str(value) for name, value in ids.items() if value is not None}
    return {
        "specversion": "1.0",
        "id": str(delivery.notification_id),
        "source": SOURCE,
        "type": f"ticketing.{told.kind}",
        "subject": str(told.ticket_id or told.purchase_id or told.event_id),
        "time": delivery.create_time.isoformat(),
        "datacontenttype": "application/json",
        # Extensions of the specification: what is in order, and in which.
        "partitionkey": str(delivery.stream),
        "sequence": f"{delivery.position:019}",
        "data": {**named, **({"user_id": told.user_id} if told.user_id is not None else {}), **told.data},
    }


def cloud_event_json(delivery: Delivery) -> bytes:
    """Write the event; the same notification is always the same bytes."""
    return json.dumps(cloud_event(delivery), separators=(",", ":"), sort_keys=True).encode()
