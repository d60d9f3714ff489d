"""Run the ticket service, its relay alone, or a command of an operator: `python -m ticket_service [COMMAND]`.

(none)               run the service
relay                run the relay of notifications
migrate              migrate the database
audit                check that the database and the payment providers agree with the promises
recover ...          recover a restored database: see `recover --help`
rotate-keys          add a key that signs tokens
retire-keys          retire the keys that no longer sign
retire-keys ID ...   retire keys by their ids
outbox               count the notifications that wait for each receiver
dead-letters list    list the notifications whose delivery failed for good
dead-letters replay  deliver them again
notifications ...    show notifications, and deliver one again by its id: see `notifications --help`
receivers            list the receivers that are disabled or paused
receivers enable NAME ...  deliver to them again
erase                erase mail addresses, read line by line from standard input
erase --user ID ...  erase users
erase --address A ...  erase mail addresses
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.app import App
from ticket_service.commands.audit import run_audit
from ticket_service.commands.dead_letters import list_dead_letters, replay_dead_letters, show_backlog
from ticket_service.commands.erase import erase_addresses, erase_named
from ticket_service.commands.notifications import run_notifications
from ticket_service.commands.receivers import enable_receivers, list_receivers
from ticket_service.commands.recover import run_recover, run_recover_with
from ticket_service.commands.rotate_keys import retire_keys, retire_named_keys, rotate_keys
from ticket_service.delivery.app import DeliveryApp, lower_priority
from ticket_service.settings import Settings, read_relay_settings, read_settings
from ticketing.chassis.service import ServiceDefinition, main

MIGRATIONS: Final = Path(__file__).parent / "store" / "migrations"

COMMANDS: Final[Mapping[str, Callable[[URL], int]]] = {
    "audit": run_audit,
    "recover": run_recover,
    "rotate-keys": rotate_keys,
    "retire-keys": retire_keys,
    "outbox": show_backlog,
    "dead-letters list": list_dead_letters,
    "dead-letters replay": replay_dead_letters,
    "receivers": list_receivers,
    "erase": erase_addresses,
}
ARGUMENT_COMMANDS: Final[Mapping[str, Callable[[URL, Sequence[str]], int]]] = {
    "recover": run_recover_with,
    "retire-keys": retire_named_keys,
    "notifications": run_notifications,
    "receivers": enable_receivers,
    "erase": erase_named,
}
RELAY: Final = "relay"


def _relay(settings: Settings, url: URL) -> DeliveryApp:
    # The database server runs by now, so it does not inherit the priority.
    lower_priority()
    return DeliveryApp(settings.delivery, url)


if __name__ == "__main__":
    sys.exit(
        main(
            ServiceDefinition("ticket_service", "tickets", MIGRATIONS, COMMANDS, ARGUMENT_COMMANDS),
            read_relay_settings if sys.argv[1:] == [RELAY] else read_settings,
            App,
            {RELAY: _relay},
        )
    )
