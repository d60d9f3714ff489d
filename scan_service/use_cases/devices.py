"""Gate devices: registering, enrolling, revoking them, and knowing them again by their tokens."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.devices import TOKEN_PREFIX, Device, code_digest, new_code, new_token, token_digest
from scan_service.domain.reasons import Reason
from scan_service.store import devices as store
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, unauthenticated
from ticketing.chassis.ids import new_id

# For so long a token is not looked up again; a revoked device's calls end within that time.
REMEMBERED: Final = timedelta(seconds=1)
MAX_REMEMBERED: Final = 10_000


class Devices:
    """Looks after devices.

    Args:
        database: the scans database.
        clock: the present time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._remembered = OrderedDict[bytes, tuple[datetime, Device | None]]()

    async def create(self, organizer_id: str, name: str, event_ids: frozenset[UUID]) -> tuple[Device, str]:
        """Register a device; return it and the code that enrolls it.

        Raises:
            Failure: EVENT_NOT_FOUND for an event that is not here, or not the organizer's.
        """
        code = new_code()
        device = Device(new_id(), organizer_id, name, event_ids, self._clock(), None, None, None, None, None)

        def work(connection: Connection) -> None:
            foreign = store.foreign_event(connection, event_ids, organizer_id)
            if foreign is not None:
                raise Failure(Reason.EVENT_NOT_FOUND, "no such event", event_id=foreign)
            store.create(connection, device, code_digest(code))

        await self._database.run(work)
        return device, code

    async def enroll(self, code: str) -> tuple[Device, str]:
        """Trade a code, once, for the device's token.

        Raises:
            Failure: ENROLLMENT_CODE_INVALID.
        """
        token = new_token()

        def work(connection: Connection) -> Device:
            now = self._clock()
            device = store.hold_by_code(connection, code_digest(code))
            if device is None or not device.may_enroll(now):
                raise Failure(Reason.ENROLLMENT_CODE_INVALID, "the code was used before, is too old, or never was one")
            store.enroll(connection, device, token_digest(token), now)
            return replace(device, enroll_time=now, last_seen_time=now)

        return await self._database.run(work), token

    async def list_devices(self, organizer_id: str, after: UUID | None, size: int) -> Sequence[Device]:
        """Return up to one device more than `size`, by id."""
        return await self._database.run(lambda connection: store.read_devices(connection, organizer_id, after, size))

    async def revoke(self, device_id: UUID, organizer_id: str) -> Device:
        """End a device's access.

        Raises:
            Failure: DEVICE_NOT_FOUND for one that is not the organizer's.
        """
        now = self._clock()
        device = await self._database.run(lambda connection: store.revoke(connection, device_id, organizer_id, now))
        if device is None:
            raise Failure(Reason.DEVICE_NOT_FOUND, "no such device", device_id=device_id)
        return device

    async def caller(self, token: str) -> Caller | None:
        """Return whose token it is; None for one that is no device's.

        Raises:
            Failure: UNAUTHENTICATED for a device that is not known or was revoked.
        """
        if not token.startswith(TOKEN_PREFIX):
            return None
        device = await self._device(token_digest(token))
        if device is None:
            raise unauthenticated("the device is not known")
        if device.revoke_time is not None:
            raise unauthenticated("the device was revoked")
        return Caller(
            subject=str(device.device_id),
            roles=frozenset({Role.DEVICE}),
            owner=device.organizer_id,
            bound_to=device.event_ids,
        )

    async def _device(self, digest: bytes) -> Device | None:
        remembered = self._remembered.get(digest)
        if remembered is not None and self._clock() - remembered[0] < REMEMBERED:
            return remembered[1]
        looked = self._clock()
        device = await self._database.run(lambda connection: store.read_by_token(connection, digest))
        self._remembered[digest] = (looked, device)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return device
