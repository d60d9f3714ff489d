"""Runs the ticket service: `python -m ticket_service`.

With `migrate` it only brings its database up to date, with `audit` only proves that what is stored there adds up, with
`relay` it only delivers notifications; `outbox`, `dead-letters list` and `dead-letters replay` tell and mend what was
not delivered; `erase` forgets mail addresses; `rotate-keys` and `retire-keys` change the keys that sign tokens.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.app import App
from ticket_service.commands.audit import audit
from ticket_service.commands.dead_letters import list_dead_letters, replay_dead_letters, show_backlog
from ticket_service.commands.erase_addresses import erase_addresses
from ticket_service.commands.rotate_keys import retire_keys, rotate_keys
from ticket_service.delivery.app import DeliveryApp
from ticket_service.settings import Settings, read_settings
from ticketing.chassis.service import ServiceDefinition, main
from ticketing.chassis.settings import Environment

MIGRATIONS: Final = Path(__file__).parent / "store" / "migrations"


def _make_relay(settings: Settings, url: URL) -> DeliveryApp:
    return DeliveryApp(settings.delivery, url)


def _audit(url: URL) -> int:
    """Audit; with the books of Stripe, where it is configured."""
    settings = read_settings(Environment(os.environ))
    key = settings.stripe_key
    if key is None:
        return audit(url)
    from ticket_service.adapters.stripe_records import read_records  # noqa: PLC0415 - as where it is charged

    return audit(url, stripe=lambda: read_records(key, settings.stripe_api_base))


COMMANDS: Final[Mapping[str, Callable[[URL], int]]] = {
    "audit": _audit,
    "rotate-keys": rotate_keys,
    "retire-keys": retire_keys,
    "outbox": show_backlog,
    "dead-letters list": list_dead_letters,
    "dead-letters replay": replay_dead_letters,
    "erase": erase_addresses,
}

if __name__ == "__main__":
    service = ServiceDefinition("ticket_service", "tickets", MIGRATIONS, COMMANDS)
    sys.exit(main(service, read_settings, App, {"relay": _make_relay}))
