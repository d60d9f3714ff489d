"""Show notifications and send one again, also one that was delivered: `python -m ticket_service notifications ...`.

show ID                                            show the deliveries of a notification
list PURCHASE_ID                                   show all notifications of a purchase
replay ID [--receiver NAME] [--purchase ID]        deliver a notification again
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from sqlalchemy.engine import URL, Connection

from ticket_service.delivery.store.kept import (
    KeptNotification,
    find_kept,
    find_open_deliveries,
    replay,
)
from ticket_service.store.sessions import session
from ticketing.chassis.clock import system_clock

Write = Callable[[str], None]
NOT_KEPT: Final = "no such notification is kept; TICKETS_REPLAY_DAYS says for how long relays keep them"


def run_notifications(url: URL, words: Sequence[str], write: Write = print) -> int:
    """Run `show`, `list` or `replay`; return 1 where the notification or its receiver does not exist."""
    given = _parser().parse_args(words)
    with session(url) as connection:
        if given.command == "list":
            return _show(connection, find_kept(connection, purchase_id=given.purchase_id), write)
        kept = find_kept(connection, notification_id=given.notification_id)
        if given.command == "show":
            return _show(connection, kept, write)
        return _replay(connection, kept, given.receiver, given.purchase, write)


def _show(connection: Connection, kept: Sequence[KeptNotification], write: Write) -> int:
    if not kept:
        write(NOT_KEPT)
        return 1
    deliveries = find_open_deliveries(connection, kept)
    for one in kept:
        write(f"{one.notification_id} {one.create_time.isoformat()} {one.notification.kind}")
        for receiver in one.receivers:
            its = [
                each for each in deliveries if (each.notification_id, each.receiver) == (one.notification_id, receiver)
            ]
            for each in its:
                state = f"next try {each.due_time.isoformat()}" if each.due_time is not None else "dead letter"
                of = f" for purchase {each.purchase_id}" if each.purchase_id != one.notification.purchase_id else ""
                write(f"    {receiver}{of}: {state} after {each.attempts} tries {each.failure}".rstrip())
            if not its:
                write(f"    {receiver}: delivered")
    return 0


def _replay(
    connection: Connection,
    kept: Sequence[KeptNotification],
    receiver: str | None,
    purchase_id: UUID | None,
    write: Write,
) -> int:
    if not kept:
        write(NOT_KEPT)
        return 1
    [one] = kept
    if receiver is not None and receiver not in one.receivers:
        write(f"{receiver} is no receiver of this notification; its receivers are {', '.join(one.receivers)}")
        return 1
    own_purchase = one.notification.purchase_id
    if purchase_id is not None and own_purchase not in {None, purchase_id}:
        write(f"the notification is about purchase {own_purchase}")
        return 1
    failed = 0
    for name in [receiver] if receiver is not None else one.receivers:
        by_purchase = own_purchase is None and name in one.receivers_by_purchase
        if by_purchase and purchase_id is None:
            write(f"{name}: name a purchase with --purchase; each purchase of the event has its own delivery")
            failed = 1
            continue
        of = purchase_id if by_purchase else None
        is_due = replay(connection, one, name, of, system_clock())
        write(f"{name}: {'due again' if is_due else 'waits already'}")
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ticket_service notifications")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show").add_argument("notification_id", type=UUID)
    commands.add_parser("list").add_argument("purchase_id", type=UUID)
    again = commands.add_parser("replay")
    again.add_argument("notification_id", type=UUID)
    again.add_argument("--receiver")
    again.add_argument("--purchase", type=UUID)
    return parser
