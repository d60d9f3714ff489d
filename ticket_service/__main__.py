"""Runs the ticket service: `python -m ticket_service`, or with `migrate` only brings its database up to date."""

import sys
from pathlib import Path
from typing import Final

from chassis.service import Parts, main
from ticket_service.app import App
from ticket_service.settings import read_settings

MIGRATIONS: Final = Path(__file__).parent / "store" / "migrations"

if __name__ == "__main__":
    sys.exit(main(Parts("ticket_service", "tickets", MIGRATIONS), read_settings, App))
