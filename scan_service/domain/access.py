"""The organizer check: a caller who is restricted to one organizer's events sees no others."""


def may_access(organizer_id: str | None, event_organizer_id: str) -> bool:
    """Return whether a caller restricted to `organizer_id` may access an event; None: the caller is not restricted."""
    return organizer_id in {None, event_organizer_id}
