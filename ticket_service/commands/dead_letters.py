"""What an operator does about notifications that were not delivered: look, and try again."""

from collections.abc import Callable

from sqlalchemy.engine import URL

from ticket_service.delivery import store
from ticket_service.store.sessions import session
from ticketing.chassis.clock import system_clock


def show_backlog(url: URL, tell: Callable[[str], None] = print) -> int:
    """Tell what each receiver has not been told: `python -m ticket_service outbox`."""
    with session(url) as connection:
        tell(f"{store.count_rows(connection):>10} not taken up by a relay")
        for backlog in store.count_backlogs(connection):
            oldest = f", oldest of {backlog.oldest_time.isoformat()}" if backlog.oldest_time is not None else ""
            tell(f"{backlog.waiting:>10} waiting for {backlog.receiver}{oldest}; {backlog.dead} dead")
    return 0


def list_dead_letters(url: URL, tell: Callable[[str], None] = print) -> int:
    """Tell what was given up, and why: `python -m ticket_service dead-letters list`."""
    with session(url) as connection:
        emails = store.find_dead_letters(connection)
    for email in emails:
        told = email.delivery
        facts = (email.dead_time.isoformat(), told.receiver, told.notification.kind, told.notification_id)
        tell(f"{' '.join(map(str, facts))} after {told.attempts} tries: {email.failure}")
    tell(f"{len(emails)} dead letters")
    return 0


def replay_dead_letters(url: URL, tell: Callable[[str], None] = print) -> int:
    """Have every dead letter delivered anew: `python -m ticket_service dead-letters replay`."""
    with session(url) as connection:
        tell(f"{store.replay_dead_letters(connection, system_clock())} dead letters are due again")
    return 0
