"""`python -m scan_service` serves; `python -m scan_service migrate` only migrates the database."""

import sys
from pathlib import Path

from scan_service.app import NAME, App
from scan_service.settings import read_settings
from ticketing.chassis.service import ServiceDefinition, main

MIGRATIONS = Path(__file__).parent / "store" / "migrations"

if __name__ == "__main__":
    sys.exit(main(ServiceDefinition(NAME, "scans", MIGRATIONS), read_settings, App))
