"""Show notifications and send one again, also one that was delivered: `python -m ticket_service notifications ...`."""

from argparse import ArgumentParser
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
from ticketing.chassis.command_line import Command

Write = Callable[[str], None]
NOT_KEPT: Final = "no such notification is kept; TICKETS_REPLAY_DAYS says for how long relays keep them"


def show_notification(url: URL, notification_id: UUID, write: Write = print) -> int:
    """Write the deliveries of a notification; return 1 where no such notification is kept."""
    with session(url) as connection:
        return _show(connection, find_kept(connection, notification_id=notification_id), write)


def list_notifications(url: URL, purchase_id: UUID, write: Write = print) -> int:
    """Write all notifications of a purchase; return 1 where none is kept."""
    with session(url) as connection:
        return _show(connection, find_kept(connection, purchase_id=purchase_id), write)


def replay_notification(
    url: URL,
    notification_id: UUID,
    receiver: str | None = None,
    purchase_id: UUID | None = None,
    write: Write = print,
) -> int:
    """Deliver a notification again; return 1 where the notification, its receiver or its purchase does not exist."""
    with session(url) as connection:
        return _replay(connection, find_kept(connection, notification_id=notification_id), receiver, purchase_id, write)


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


def _add_notification(parser: ArgumentParser) -> None:
    parser.add_argument("notification_id", metavar="ID", type=UUID, help="the id of a notification")


def _add_purchase(parser: ArgumentParser) -> None:
    parser.add_argument("purchase_id", metavar="PURCHASE_ID", type=UUID, help="the id of a purchase")


def _add_replay(parser: ArgumentParser) -> None:
    _add_notification(parser)
    parser.add_argument("--receiver", metavar="NAME", help="webhook, nats or mail; all receivers by default")
    parser.add_argument("--purchase", metavar="ID", type=UUID, help="the purchase, for a notification about an event")


COMMANDS: Final = (
    Command(
        "notifications show",
        "show the deliveries of a notification",
        lambda url, given: show_notification(url, given.notification_id),
        _add_notification,
    ),
    Command(
        "notifications list",
        "show all notifications of a purchase",
        lambda url, given: list_notifications(url, given.purchase_id),
        _add_purchase,
    ),
    Command(
        "notifications replay",
        "deliver a notification again",
        lambda url, given: replay_notification(url, given.notification_id, given.receiver, given.purchase),
        _add_replay,
    ),
)
