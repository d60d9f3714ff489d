"""Erase the persons who scan without a gate device."""

from typing import Final
from uuid import UUID

from scan_service.store.scanners import erase_scanner
from ticketing.chassis.database import Database

# Scans that one call looks at, within a tenth of a second.
PART: Final = 5_000


class Scanners:
    """The use case of erasing a user from scans; the verdicts stay."""

    def __init__(self, database: Database, part: int = PART) -> None:
        self._database = database
        self._part = part

    async def erase(self, user_id: str, after: tuple[UUID, UUID]) -> tuple[int, tuple[UUID, UUID] | None]:
        """Erase a user from the next part of the scans, in the order of event and scan.

        Returns:
            The number of erased scans, and the event and the scan at the end of the part; None after the last part.
        """
        return await self._database.run(lambda connection: erase_scanner(connection, user_id, after, self._part))
