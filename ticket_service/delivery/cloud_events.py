"""Encode notifications as CloudEvents 1.0, in structured JSON mode."""

import json
from typing import Final

from ticket_service.delivery.receiver import Delivery

MEDIA_TYPE: Final = "application/cloudevents+json"
SOURCE: Final = "/ticketing/tickets"


def cloud_event(delivery: Delivery) -> dict[str, object]:
    """Build the event; receivers deduplicate by its `id`."""
    notification = delivery.notification
    named = {
        name: str(value)
        for name in ("event_id", "purchase_id", "ticket_id", "user_id")
        # The user id of an erased user is empty.
        if (value := getattr(notification, name))
    }
    return {
        "specversion": "1.0",
        "id": str(delivery.notification_id),
        "source": SOURCE,
        "type": f"ticketing.{notification.kind}",
        "subject": str(notification.ticket_id or notification.purchase_id or notification.event_id),
        "time": delivery.create_time.isoformat(),
        "datacontenttype": "application/json",
        # Extensions of the specification: the stream, and the position in it.
        "partitionkey": str(delivery.stream),
        "sequence": f"{delivery.position:019}",
        "data": {**named, **notification.data},
    }


def cloud_event_json(delivery: Delivery) -> bytes:
    """Encode the event; equal notifications have equal bytes."""
    return json.dumps(cloud_event(delivery), separators=(",", ":"), sort_keys=True).encode()
