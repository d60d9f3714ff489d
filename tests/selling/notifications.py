"""Deliveries for tests of receivers."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ticket_service.delivery.receiver import Delivery
from ticket_service.domain.notifications import Kind, Notification
from ticketing.chassis.ids import new_id

NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)


def delivery(kind: Kind = Kind.TICKET_REISSUED, **changes: Any) -> Delivery:
    """Make a delivery of a ticket's notification; `changes` are fields of the notification."""
    notification = Notification(new_id(), kind, new_id(), new_id(), "alice", {"issue": 2})
    notification = replace(notification, **changes)
    return Delivery(notification, new_id(), "receiver", notification.purchase_id or notification.event_id, 7, NOW, 1)
