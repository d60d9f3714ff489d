"""Gate devices: creation, enrollment, revocation, and authentication by their tokens."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.devices import TOKEN_PREFIX, Device, code_digest, new_code, new_token, token_digest
from scan_service.domain.event_access import event_not_found
from scan_service.domain.reasons import Reason
from scan_service.store import devices as store
from ticketing.chassis.authentication import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, unauthenticated
from ticketing.chassis.ids import new_id

# A token is looked up again after this time, so a revoked device is refused within it.
CACHED: Final = timedelta(seconds=1)
MAX_CACHED: Final = 10_000


class Devices:
    """Creates, enrolls, revokes and authenticates devices.

    Args:
        database: the scans database.
        clock: the present time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cached = OrderedDict[bytes, tuple[datetime, Device | None]]()

    async def create(self, organizer_id: str, name: str, event_ids: frozenset[UUID]) -> tuple[Device, str]:
        """Create a device; return it and its enrollment code.

        Raises:
            Failure: EVENT_NOT_FOUND for an unknown event and for another organizer's.
        """
        code = new_code()
        device = Device(new_id(), organizer_id, name, event_ids, self._clock(), None, None, None, None, None)

        def work(connection: Connection) -> None:
            foreign = store.find_foreign_event(connection, event_ids, organizer_id)
            if foreign is not None:
                raise event_not_found(foreign)
            store.create(connection, device, code_digest(code))

        await self._database.run(work)
        return device, code

    async def enroll(self, code: str) -> tuple[Device, str]:
        """Exchange an enrollment code, once, for the access token of the device.

        Raises:
            Failure: ENROLLMENT_CODE_INVALID.
        """
        token = new_token()

        def work(connection: Connection) -> Device:
            now = self._clock()
            device = store.lock_by_code(connection, code_digest(code))
            if device is None or not device.may_enroll(now):
                raise Failure(Reason.ENROLLMENT_CODE_INVALID, "the code was used before, is too old, or never was one")
            store.enroll(connection, device, token_digest(token), now)
            return replace(device, enroll_time=now, last_seen_time=now)

        return await self._database.run(work), token

    async def list_devices(self, organizer_id: str, after: UUID | None, size: int) -> Sequence[Device]:
        """Return up to one device more than `size`, ordered by id."""
        return await self._database.run(lambda connection: store.read_devices(connection, organizer_id, after, size))

    async def revoke(self, device_id: UUID, organizer_id: str) -> Device:
        """Revoke a device.

        Raises:
            Failure: DEVICE_NOT_FOUND for an unknown device and for another organizer's.
        """
        now = self._clock()
        device = await self._database.run(lambda connection: store.revoke(connection, device_id, organizer_id, now))
        if device is None:
            raise Failure(Reason.DEVICE_NOT_FOUND, "no such device", device_id=device_id)
        return device

    async def caller(self, token: str) -> Caller | None:
        """Return the caller of a device token; None where the token is not a device token.

        Raises:
            Failure: UNAUTHENTICATED for an unknown or revoked device.
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
        cached = self._cached.get(digest)
        if cached is not None and self._clock() - cached[0] < CACHED:
            return cached[1]
        read_time = self._clock()
        device = await self._database.run(lambda connection: store.read_by_token(connection, digest))
        self._cached[digest] = (read_time, device)
        self._cached.move_to_end(digest)
        if len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return device
