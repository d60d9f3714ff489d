"""Runs the ticket service: `python -m ticket_service`.

With `migrate` it only brings its database up to date, with `audit` only proves that what is stored there adds up.
"""

import sys
from pathlib import Path
from typing import Final

from chassis.service import Parts, main
from ticket_service.app import App
from ticket_service.audit import audit
from ticket_service.settings import read_settings

MIGRATIONS: Final = Path(__file__).parent / "store" / "migrations"

if __name__ == "__main__":
    sys.exit(main(Parts("ticket_service", "tickets", MIGRATIONS, {"audit": audit}), read_settings, App))
