"""Conditions on the rows that a caller may see or change; `domain.access` has the same rules for single events."""

from typing import Final

import sqlalchemy as sa

from ticket_service.domain.access import organizer_of
from ticket_service.domain.events import EventStatus
from ticket_service.store.tables import events, purchases, tickets
from ticketing.chassis.callers import Caller, Role

Condition = sa.ColumnElement[bool]

ANY: Final[Condition] = sa.true()


def event_owned_by(organizer_id: str) -> Condition:
    """Select the events of an organizer."""
    return events.c.organizer_id == organizer_id


def event_administered_by(caller: Caller) -> Condition:
    """Select the events that a caller administers: all for a service, their own for an organizer."""
    return sa.true() if caller.is_any(Role.SERVICE) else event_owned_by(caller.subject)


def event_visible_to(caller: Caller) -> Condition:
    """Select the events that a caller may see: a draft only as its organizer."""
    published = events.c.status != EventStatus.DRAFT
    organizer_id = organizer_of(caller)
    return published if organizer_id is None else sa.or_(published, event_owned_by(organizer_id))


def ticket_visible_to(caller: Caller) -> Condition:
    """Select the tickets that a caller may see: their own, an organizer also those of their events, a service all."""
    return _visible_to(caller, tickets.c.user_id)


def ticket_of_user(caller: Caller, user_id: str) -> Condition:
    """Select the tickets of a user; "" selects the caller's, or all that an organizer or a service may see."""
    return _of_user(caller, user_id, tickets.c.user_id)


def purchase_visible_to(caller: Caller) -> Condition:
    """Select the purchases that a caller may see; the rule for tickets applies."""
    return _visible_to(caller, purchases.c.user_id)


def purchase_of_user(caller: Caller, user_id: str) -> Condition:
    """Select the purchases of a user; "" selects the caller's, or all that an organizer or a service may see."""
    return _of_user(caller, user_id, purchases.c.user_id)


def _visible_to(caller: Caller, owner: sa.Column[str]) -> Condition:
    if caller.is_any(Role.SERVICE):
        return sa.true()
    own = owner == caller.subject
    organizer_id = organizer_of(caller)
    return own if organizer_id is None else sa.or_(own, event_owned_by(organizer_id))


def _of_user(caller: Caller, user_id: str, owner: sa.Column[str]) -> Condition:
    if user_id:
        return owner == user_id
    return sa.true() if caller.is_any(Role.ORGANIZER, Role.SERVICE) else owner == caller.subject
