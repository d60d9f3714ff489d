"""Conditions on the rows that a caller may see or change; `domain.access` has the same rules for single events."""

from typing import Final

import sqlalchemy as sa

from ticket_service.domain.access import organizer_of
from ticket_service.domain.events import EventStatus
from ticket_service.store.tables import events, purchases, tickets
from ticketing.chassis.callers import Caller, Role

Condition = sa.ColumnElement[bool]

ANY: Final[Condition] = sa.true()
# The roles that are not restricted to own objects.
_ALL_EVENTS: Final = (Role.SERVICE, Role.OPERATOR)


def event_owned_by(organizer_id: str) -> Condition:
    """Select the events of an organizer."""
    return events.c.organizer_id == organizer_id


def event_administered_by(caller: Caller) -> Condition:
    """Select the events that a caller administers: all for a service and an operator, their own for an organizer."""
    return sa.true() if caller.is_any(*_ALL_EVENTS) else event_owned_by(caller.subject)


def event_visible_to(caller: Caller) -> Condition:
    """Select the events that a caller may see: a draft only as its organizer or as an operator."""
    if caller.is_any(Role.OPERATOR):
        return sa.true()
    published = events.c.status != EventStatus.DRAFT
    organizer_id = organizer_of(caller)
    return published if organizer_id is None else sa.or_(published, event_owned_by(organizer_id))


def ticket_visible_to(caller: Caller) -> Condition:
    """Select the tickets that a caller may see: their own, an organizer also those of their events.

    A service and an operator may see all.
    """
    return _visible_to(caller, tickets.c.user_id)


def ticket_of_user(caller: Caller, user_id: str) -> Condition:
    """Select the tickets of a user; "" selects the caller's, or all that the caller may see, unless a user."""
    return _of_user(caller, user_id, tickets.c.user_id)


def purchase_visible_to(caller: Caller) -> Condition:
    """Select the purchases that a caller may see; the rule for tickets applies."""
    return _visible_to(caller, purchases.c.user_id)


def purchase_of_user(caller: Caller, user_id: str) -> Condition:
    """Select the purchases of a user; "" selects the caller's, or all that the caller may see, unless a user."""
    return _of_user(caller, user_id, purchases.c.user_id)


def _visible_to(caller: Caller, owner: sa.Column[str]) -> Condition:
    if caller.is_any(*_ALL_EVENTS):
        return sa.true()
    own = owner == caller.subject
    organizer_id = organizer_of(caller)
    return own if organizer_id is None else sa.or_(own, event_owned_by(organizer_id))


def _of_user(caller: Caller, user_id: str, owner: sa.Column[str]) -> Condition:
    if user_id:
        return owner == user_id
    return sa.true() if caller.is_any(Role.ORGANIZER, *_ALL_EVENTS) else owner == caller.subject
