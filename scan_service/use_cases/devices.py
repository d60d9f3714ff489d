"""Gate devices: creation, enrollment, revocation, and authentication by their tokens."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.engine import Connection

from scan_service.domain.audit_trail import ChangeKind, device_change
from scan_service.domain.devices import (
    TOKEN_PREFIX,
    Credentials,
    Device,
    DeviceQuery,
    DeviceRequest,
    code_digest,
    token_digest,
)
from scan_service.domain.refusals import device_not_found, enrollment_code_invalid, event_not_found, request_id_reused
from scan_service.store import audit_trail
from scan_service.store import devices as store
from scan_service.store.clock import DatabaseClock
from ticketing.chassis.authentication import Attempt
from ticketing.chassis.batcher import Batcher
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.failures import Failure, unauthenticated
from ticketing.chassis.ids import new_id
from ticketing.chassis.refused_tokens import RefusedTokens

log = logging.getLogger(__name__)

# A token is looked up again after this time, so a revoked device is refused within it.
CACHED: Final = timedelta(seconds=1)
MAX_CACHED: Final = 10_000
# After a restart of the service all devices of a venue connect again in the same second.
MAX_LOOK_UPS: Final = 512
MAX_WAITING_LOOK_UPS: Final = 10_000


class Devices:
    """The use case that creates, enrolls, revokes and authenticates devices."""

    def __init__(
        self,
        database: Database,
        authenticating: Database,
        credentials: Credentials,
        clock: Clock,
        database_clock: DatabaseClock,
    ) -> None:
        self._database = database
        # The pool that looks tokens up: every call of a device waits for it.
        self._authenticating = authenticating
        self._database_clock = database_clock
        self._credentials = credentials
        self._clock = clock
        self._cached = OrderedDict[bytes, tuple[datetime, Device]]()
        self._refused = RefusedTokens(clock)
        self._look_ups = Batcher("devices", self._read, max_batch=MAX_LOOK_UPS, max_waiting=MAX_WAITING_LOOK_UPS)

    async def create(self, caller: Caller, request: DeviceRequest) -> tuple[Device, str]:
        """Create a device of `caller`, or find that of a repeated request; return it and its enrollment code.

        Raises:
            Failure: REQUEST_ID_REUSED; EVENT_NOT_FOUND for an unknown event and for another organizer's.
        """
        organizer_id, device_id, request_id = caller.subject, new_id(), request.request_id
        code = self._credentials.code(device_id, request_id)

        def work(connection: Connection) -> Device:
            now = self._database_clock.read(connection)
            device = Device(device_id, organizer_id, request.name, request.event_ids, now)
            if request_id is not None and (earlier := store.read_by_request(connection, organizer_id, request_id)):
                return earlier
            if foreign := store.find_foreign_event(connection, request.event_ids, organizer_id):
                raise event_not_found(foreign)
            if store.create(connection, device, request_id, code_digest(code)) or request_id is None:
                audit_trail.record(connection, caller, [device_change(ChangeKind.DEVICE_CREATED, device)], now)
                return device
            # A concurrent request created the device; the insert has waited for its commit.
            return store.read_by_request(connection, organizer_id, request_id) or device

        created = await self._database.run(work)
        if request_id is None or created.device_id == device_id:
            return created, code
        if not request.created(created):
            raise request_id_reused(request_id)
        return created, self._credentials.code(created.device_id, request_id)

    async def enroll(self, code: str, request_id: UUID | None) -> tuple[Device, str]:
        """Exchange an enrollment code, once or repeatedly under one request_id, for the access token of the device."""
        token = self._credentials.token(code, request_id)

        def work(connection: Connection) -> Device:
            now = self._database_clock.read(connection)
            device, stored_digest = store.lock_by_code(connection, code_digest(code))
            if device is None or not device.may_enroll(now):
                raise enrollment_code_invalid()
            if stored_digest is None:
                store.enroll(connection, device, token_digest(token), now)
                return replace(device, enroll_time=now, last_seen_time=now)
            # The same code and request_id derive the same token; a random token matches none.
            if stored_digest != token_digest(token):
                raise enrollment_code_invalid()
            return device

        return await self._database.run(work), token

    async def list_devices(self, query: DeviceQuery) -> tuple[Sequence[Device], datetime]:
        """Return up to one device more than `query.size`, ordered by id, and the time at which they were read."""

        def read(connection: Connection) -> tuple[Sequence[Device], datetime]:
            now = self._database_clock.read(connection)
            return store.read_devices(connection, query), now

        return await self._database.read(read)

    async def revoke(self, caller: Caller, device_id: UUID, organizer_id: str | None) -> Device:
        """Revoke a device of `organizer_id` (None: of anybody) for `caller`.

        Raises:
            Failure: DEVICE_NOT_FOUND for an unknown device and for another organizer's.
        """

        def work(connection: Connection) -> Device:
            now = self._database_clock.read(connection)
            device = store.revoke(connection, device_id, organizer_id, now)
            if device is None:
                raise device_not_found(device_id)
            if device.revoke_time == now:
                audit_trail.record(connection, caller, [device_change(ChangeKind.DEVICE_REVOKED, device)], now)
            return device

        device = await self._database.run(work)
        # After a restore of the database, the log says which devices to revoke again.
        log.warning("a device was revoked", extra={"device_id": str(device_id), "organizer_id": device.organizer_id})
        return device

    async def caller(self, token: str, attempt: Attempt = nullcontext) -> Caller | None:
        """Return the caller of a device token, None for another token; `attempt` surrounds the look-up of an unknown one.

        Raises:
            Failure: UNAUTHENTICATED for an invalid token; the failures of `attempt`.
        """
        if not token.startswith(TOKEN_PREFIX):
            return None
        digest = token_digest(token)
        cached = self._cached.get(digest)
        if cached is not None and self._clock() - cached[0] < CACHED:
            device = cached[1]
        else:
            self._refused.check(digest)
            # A token that is known or has our tag is looked up whatever others at its address do.
            is_ours = cached is not None or self._credentials.are_ours(token)
            with nullcontext() if is_ours else attempt():
                device = await self._look_up(digest)
        return Caller(
            subject=str(device.device_id),
            roles=frozenset({Role.DEVICE}),
            owner=device.organizer_id,
            bound_to=device.event_ids,
        )

    async def _read(self, digests: Sequence[bytes]) -> Sequence[Device | None]:
        found = await self._authenticating.run(lambda connection: store.read_by_tokens(connection, digests))
        return [found.get(digest) for digest in digests]

    async def _look_up(self, digest: bytes) -> Device:
        """Return the device of a token, and remember the result; raise UNAUTHENTICATED without a valid one."""
        read_time = self._clock()
        device = await self._look_ups.submit(digest)
        try:
            if device is None:
                raise unauthenticated("the device is not known")
            if device.revoke_time is not None:
                raise unauthenticated("the device was revoked")
        except Failure as failure:
            self._cached.pop(digest, None)
            self._refused.add(digest, failure)
            raise
        self._cached[digest] = (read_time, device)
        self._cached.move_to_end(digest)
        if len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return device
