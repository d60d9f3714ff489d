"""The statements on gate devices."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.engine import Connection

from scan_service.domain.devices import Device, DeviceQuery
from scan_service.store.recoveries import is_pending, read_open
from scan_service.store.tables import devices, events
from ticketing.admission.scans import Gate
from ticketing.admission.tickets import TicketType


def find_foreign_event(connection: Connection, event_ids: Collection[UUID], organizer_id: str) -> UUID | None:
    """Return an event that is unknown or another organizer's; None where there is none."""
    query = sa.select(events.c.event_id).where(
        events.c.event_id.in_(list(event_ids)), events.c.organizer_id == organizer_id
    )
    return next(iter(set(event_ids) - set(connection.execute(query).scalars())), None)


def create(connection: Connection, device: Device, request_id: UUID | None, code_digest: bytes) -> bool:
    """Insert a device; return False where its organizer has one of that request_id, also from a concurrent call."""
    statement = (
        insert(devices)
        .values(
            device_id=device.device_id,
            organizer_id=device.organizer_id,
            name=device.name,
            event_ids=sorted(device.event_ids),
            create_time=device.create_time,
            code_digest=code_digest,
            request_id=request_id,
        )
        .on_conflict_do_nothing(index_elements=["organizer_id", "request_id"])
    )
    return connection.execute(statement).rowcount == 1


def read_by_request(connection: Connection, organizer_id: str, request_id: UUID) -> Device | None:
    """Return the device that the organizer created under a request_id; None where there is none."""
    query = sa.select(devices).where(devices.c.organizer_id == organizer_id, devices.c.request_id == request_id)
    return _device(connection.execute(query).one_or_none())


def lock_by_code(connection: Connection, code_digest: bytes) -> tuple[Device | None, bytes | None]:
    """Lock the device of an enrollment code; return it and the digest of its access token, each None if absent."""
    query = sa.select(devices).where(devices.c.code_digest == code_digest).with_for_update()
    row = connection.execute(query).one_or_none()
    return _device(row), None if row is None else row.token_digest


def read_by_tokens(connection: Connection, token_digests: Collection[bytes]) -> Mapping[bytes, Device]:
    """Return the devices, revoked or not, by the digests of their access tokens; unknown tokens are left out."""
    rows = connection.execute(sa.select(devices).where(devices.c.token_digest.in_(list(token_digests))))
    return {bytes(row.token_digest): device for row in rows if (device := _device(row)) is not None}


def enroll(connection: Connection, device: Device, token_digest: bytes, now: datetime) -> None:
    """Store the enrollment of a device."""
    connection.execute(
        devices.update()
        .where(devices.c.device_id == device.device_id)
        .values(enroll_time=now, last_seen_time=now, token_digest=token_digest, reported=False)
    )


def revoke(connection: Connection, device_id: UUID, organizer_id: str | None, now: datetime) -> Device | None:
    """Revoke a device, and keep an earlier revocation time; return None where it is not that organizer's.

    None as `organizer_id` allows every organizer's.
    """
    query = (
        devices.update()
        .where(devices.c.device_id == device_id, _of_organizer(organizer_id))
        .values(revoke_time=sa.func.coalesce(devices.c.revoke_time, now), reported=False)
        .returning(devices)
    )
    return _device(connection.execute(query).one_or_none())


def revoke_many(
    connection: Connection, device_ids: Collection[UUID] | None, now: datetime
) -> tuple[Sequence[Device], frozenset[UUID]]:
    """Revoke devices, all where `device_ids` is None; return those that were not revoked before, and the ids that exist."""
    wanted = sa.true() if device_ids is None else devices.c.device_id.in_(list(device_ids))
    # The presence of devices is recorded in the order of their ids too.
    query = sa.select(devices.c.device_id).where(wanted).order_by(devices.c.device_id).with_for_update()
    found = frozenset(connection.execute(query).scalars())
    statement = devices.update().where(wanted, devices.c.revoke_time.is_(None)).values(revoke_time=now, reported=False)
    rows = connection.execute(statement.returning(devices))
    return [device for row in rows if (device := _device(row)) is not None], found


def read_devices(connection: Connection, wanted: DeviceQuery) -> Sequence[Device]:
    """Return up to one device more than `wanted.size`, ordered by id."""
    recovery = read_open(connection)
    pending = sa.false() if recovery is None else is_pending(recovery.recovery_id, recovery.since_time)
    query = sa.select(devices, pending.label("resend_pending")).where(_of_organizer(wanted.visible_to))
    if wanted.organizer_id:
        query = query.where(devices.c.organizer_id == wanted.organizer_id)
    if wanted.event_id is not None:
        query = query.where(devices.c.gate_event_id == wanted.event_id)
    if wanted.after is not None:
        query = query.where(devices.c.device_id > wanted.after)
    rows = connection.execute(query.order_by(devices.c.device_id).limit(wanted.size + 1))
    return [replace(device, resend_pending=row.resend_pending) for row in rows if (device := _device(row)) is not None]


def read_revoked(connection: Connection, since: datetime) -> frozenset[str]:
    """Return the ids of the devices that were revoked at or after `since`."""
    query = sa.select(devices.c.device_id).where(devices.c.revoke_time >= since)
    return frozenset(str(device_id) for device_id in connection.execute(query).scalars())


def record_presence(
    connection: Connection, device_ids: Collection[str], now: datetime, connected_until: datetime
) -> None:
    """Record until when devices count as connected; skip devices that another session has locked."""
    locked = _lock([UUID(device_id) for device_id in device_ids]).cte("locked")
    connection.execute(
        devices.update()
        .where(devices.c.device_id == locked.c.device_id)
        .values(last_seen_time=now, connected_until=connected_until)
    )


def record_gates(
    connection: Connection, gates: Mapping[str, Gate], now: datetime, connected_until: datetime
) -> frozenset[str]:
    """Record the gate that each device has opened; return the devices, without those that another session has locked."""
    found = connection.execute(_lock([UUID(device_id) for device_id in gates])).scalars()
    locked = frozenset(map(str, found))
    statement = devices.update().where(devices.c.device_id == sa.bindparam("device"))
    statement = statement.values(
        last_seen_time=now,
        connected_until=connected_until,
        gate_event_id=sa.bindparam("event"),
        gate_location=sa.bindparam("location"),
        gate_types=sa.bindparam("types"),
    )
    rows = [
        {
            "device": UUID(device_id),
            "event": gate.event_id,
            "location": gate.location,
            "types": sorted(gate.allowed_types),
        }
        for device_id, gate in gates.items()
        if device_id in locked
    ]
    if rows:
        connection.execute(statement, rows)
    return locked


def _of_organizer(organizer_id: str | None) -> sa.ColumnElement[bool]:
    return sa.true() if organizer_id is None else devices.c.organizer_id == organizer_id


def _lock(device_ids: Collection[UUID]) -> sa.Select[tuple[UUID]]:
    """Build the query that locks devices in the order of their ids, without waiting for another session."""
    query = sa.select(devices.c.device_id).where(devices.c.device_id.in_(device_ids))
    return query.order_by(devices.c.device_id).with_for_update(skip_locked=True)


def _device(row: Any) -> Device | None:
    if row is None:
        return None
    gate = None
    if row.gate_event_id is not None:
        gate = Gate(row.gate_event_id, row.gate_location, frozenset(TicketType(kind) for kind in row.gate_types))
    return Device(
        device_id=row.device_id,
        organizer_id=row.organizer_id,
        name=row.name,
        event_ids=frozenset(row.event_ids),
        create_time=row.create_time,
        enroll_time=row.enroll_time,
        last_seen_time=row.last_seen_time,
        revoke_time=row.revoke_time,
        connected_until=row.connected_until,
        gate=gate,
    )
