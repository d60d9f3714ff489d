"""Decide what a caller may do as an organizer, a service or an operator; `store.access` has the same rules in SQL."""

from ticketing.chassis.callers import Caller, Role


def organizer_of(caller: Caller) -> str | None:
    """Return the caller's id as an organizer; None for any other caller."""
    return caller.subject if caller.is_any(Role.ORGANIZER) else None


def administers(caller: Caller, organizer_id: str) -> bool:
    """Return whether the caller administers the events of an organizer: that organizer, or a service."""
    return caller.is_any(Role.SERVICE) or organizer_of(caller) == organizer_id


def may_report_payments(caller: Caller, organizer_id: str) -> bool:
    """Return whether the caller may report payments of an organizer's events: that organizer, a service, an operator."""
    return organizer_of(caller) == organizer_id or caller.is_any(Role.SERVICE, Role.OPERATOR)


def sees(caller: Caller, holder: str, organizer_id: str) -> bool:
    """Return whether the caller may see what a user has of an event: that user, the organizer, a service, an operator."""
    is_theirs = caller.subject == holder or organizer_of(caller) == organizer_id
    return is_theirs or caller.is_any(Role.SERVICE, Role.OPERATOR)


def listed_user(caller: Caller, user_id: str) -> str | None:
    """Return the only user whose rows a list with this `user_id` selects, if the caller may see all of them; else None."""
    lists_all = caller.is_any(Role.ORGANIZER, Role.SERVICE, Role.OPERATOR)
    wanted = user_id or ("" if lists_all else caller.subject)
    sees_all = caller.subject == wanted or caller.is_any(Role.SERVICE, Role.OPERATOR)
    return wanted if wanted and sees_all else None


def acts_as(caller: Caller, user_id: str) -> bool:
    """Return whether the caller may act as a user: an operator acts for nobody, also not for the operator's own user."""
    return caller.subject == user_id and caller.is_any(Role.USER, Role.ORGANIZER, Role.SERVICE)
