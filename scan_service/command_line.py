"""The command line of the scan service: the service, and the commands of an operator."""

from pathlib import Path
from typing import Final

from scan_service.app import NAME, App
from scan_service.commands import delete_scans, recover, retire_keys, revoke_devices
from scan_service.settings import read_settings
from ticketing.chassis.command_line import Command
from ticketing.chassis.service import ServiceDefinition, main

MIGRATIONS: Final = Path(__file__).parent / "store" / "migrations"

COMMANDS: Final[tuple[Command, ...]] = (
    delete_scans.COMMAND,
    recover.COMMAND,
    retire_keys.COMMAND,
    revoke_devices.COMMAND,
)


def run() -> int:
    """Run what the command line names; return the exit status."""
    return main(ServiceDefinition(NAME, "scans", MIGRATIONS, COMMANDS), read_settings, App)
