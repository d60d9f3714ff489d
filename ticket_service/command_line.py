"""The command line of the ticket service: the service, its relay, and the commands of an operator."""

from pathlib import Path
from typing import Final

from sqlalchemy.engine import URL

from ticket_service.app import App
from ticket_service.commands import audit, dead_letters, erase, notifications, receivers, recover, rotate_keys
from ticket_service.delivery.app import DeliveryApp, lower_priority
from ticket_service.settings import Settings, read_relay_settings, read_settings
from ticketing.chassis.command_line import Command
from ticketing.chassis.service import OtherProgram, ServiceDefinition, main

MIGRATIONS: Final = Path(__file__).parent / "store" / "migrations"

COMMANDS: Final[tuple[Command, ...]] = (
    audit.COMMAND,
    recover.COMMAND,
    *rotate_keys.COMMANDS,
    *dead_letters.COMMANDS,
    *notifications.COMMANDS,
    *receivers.COMMANDS,
    erase.COMMAND,
)


def run() -> int:
    """Run what the command line names; return the exit status."""
    definition = ServiceDefinition("ticket_service", "tickets", MIGRATIONS, COMMANDS)
    relay = OtherProgram("run the relay of notifications alone", read_relay_settings, _relay)
    return main(definition, read_settings, App, {"relay": relay})


def _relay(settings: Settings, url: URL) -> DeliveryApp:
    # The database server runs by now, so it does not inherit the priority.
    lower_priority()
    return DeliveryApp(settings.delivery, url)
