"""Run the scan service or a command of an operator: `python -m scan_service [COMMAND]`.

(none)                 run the service
migrate                migrate the database
recover [OPTIONS]      recover after the database was restored to an earlier moment
retire-keys ID ...     deny the tokens of signing keys for good
revoke-devices all     revoke all gate devices
revoke-devices ID ...  revoke gate devices
"""

import sys
from pathlib import Path

from scan_service.app import NAME, App
from scan_service.commands.recover import recover
from scan_service.commands.retire_keys import retire_named_keys
from scan_service.commands.revoke_devices import revoke_devices
from scan_service.settings import read_settings
from ticketing.chassis.service import ServiceDefinition, main

MIGRATIONS = Path(__file__).parent / "store" / "migrations"

if __name__ == "__main__":
    definition = ServiceDefinition(
        NAME,
        "scans",
        MIGRATIONS,
        commands={"recover": recover},
        argument_commands={"recover": recover, "retire-keys": retire_named_keys, "revoke-devices": revoke_devices},
    )
    sys.exit(main(definition, read_settings, App))
