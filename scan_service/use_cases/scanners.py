"""Erase the persons who scan without a gate device, or change something at the gates."""

from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.store.audit_trail import erase_caller
from scan_service.store.scanners import erase_scanner
from ticketing.chassis.database import Database

# Scans that one call looks at, within a tenth of a second.
PART: Final = 5_000


class Scanners:
    """The use case of erasing a user from scans and from the audit trail; verdicts and records stay."""

    def __init__(self, database: Database, part: int = PART) -> None:
        self._database = database
        self._part = part

    async def erase(self, user_id: str, after: tuple[UUID, UUID]) -> tuple[int, tuple[UUID, UUID] | None]:
        """Erase a user from the next part of the scans, in the order of event and scan.

        Returns:
            The number of erased scans, and the event and the scan at the end of the part; None after the last part.
        """

        def work(connection: Connection) -> tuple[int, tuple[UUID, UUID] | None]:
            of_trail = erase_caller(connection, user_id, self._part)
            erased, position = erase_scanner(connection, user_id, after, self._part)
            # After the last scan, the same part is repeated until no record names the user.
            return erased, after if position is None and of_trail == self._part else position

        return await self._database.run(work)
