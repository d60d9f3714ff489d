"""Show, list and replay notifications that were not delivered."""

from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.delivery.store import backlog, deliveries
from ticket_service.store.sessions import session
from ticketing.chassis.clock import system_clock
from ticketing.chassis.command_line import Command

Write = Callable[[str], None]


def show_backlog(url: URL, write: Write = print) -> int:
    """Write the number of undelivered notifications of each receiver: `python -m ticket_service outbox`."""
    with session(url) as connection:
        write(f"{backlog.count_outbox_rows(connection):>10} not taken up by a relay")
        for its in backlog.count_backlogs(connection):
            oldest = f", oldest of {its.oldest_time.isoformat()}" if its.oldest_time is not None else ""
            write(f"{its.waiting:>10} waiting for {its.receiver}{oldest}; {its.dead} dead")
    return 0


def list_dead_letters(url: URL, write: Write = print) -> int:
    """Write each dead letter with its failure: `python -m ticket_service dead-letters list`."""
    with session(url) as connection:
        letters = deliveries.find_dead_letters(connection)
    for letter in letters:
        delivery = letter.delivery
        facts = (letter.dead_time.isoformat(), delivery.receiver, delivery.notification.kind, delivery.notification_id)
        write(f"{' '.join(map(str, facts))} after {delivery.attempts} tries: {letter.failure}")
    write(f"{len(letters)} dead letters")
    return 0


def replay_dead_letters(url: URL, write: Write = print) -> int:
    """Make every dead letter due again: `python -m ticket_service dead-letters replay`."""
    with session(url) as connection:
        write(f"{deliveries.replay_dead_letters(connection, system_clock())} dead letters are due again")
    return 0


COMMANDS: Final = (
    Command("outbox", "count the notifications that wait for each receiver", lambda url, _: show_backlog(url)),
    Command(
        "dead-letters list",
        "list the notifications whose delivery failed for good",
        lambda url, _: list_dead_letters(url),
    ),
    Command("dead-letters replay", "deliver all dead letters again", lambda url, _: replay_dead_letters(url)),
)
