"""The statements by which the ticket service keeps the gate devices for this service, and gives them back.

A restored database lacks the devices that were enrolled since, whose gates would stop, and it lacks revocations.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from scan_service.domain.recoveries import ReportedDevice
from scan_service.store.tables import devices

# A device changes by its enrollment and its revocation; its presence and its gate are not worth a report.
_UNREPORTED: Final = sa.text("""
    SELECT device_id, greatest(create_time, enroll_time, revoke_time), CAST(jsonb_build_object(
        'device_id', device_id, 'organizer_id', organizer_id, 'name', name, 'event_ids', event_ids,
        'create_time', create_time, 'code_digest', code_digest, 'enroll_time', enroll_time, 'token_digest', token_digest,
        'revoke_time', revoke_time, 'last_seen_time', last_seen_time, 'request_id', request_id) AS text)
    FROM devices WHERE NOT reported ORDER BY device_id LIMIT :limit
""")
# A device that was revoked since it was read is reported again.
_MARK: Final = sa.text("""
    UPDATE devices d SET reported = true
    FROM jsonb_populate_record(NULL::devices, CAST(:state AS jsonb)) AS sent
    WHERE d.device_id = sent.device_id
      AND (d.enroll_time, d.revoke_time) IS NOT DISTINCT FROM (sent.enroll_time, sent.revoke_time)
""")
_INSERT: Final = sa.text("""
    INSERT INTO devices (device_id, organizer_id, name, event_ids, create_time, code_digest, enroll_time, token_digest,
                         revoke_time, last_seen_time, request_id, reported)
    SELECT device_id, organizer_id, name, event_ids, create_time, code_digest, enroll_time, token_digest, revoke_time,
           last_seen_time, request_id, true
    FROM jsonb_populate_record(NULL::devices, CAST(:state AS jsonb))
    ON CONFLICT DO NOTHING
""")
_ENROLL: Final = sa.text("""
    UPDATE devices d SET enroll_time = lost.enroll_time, token_digest = lost.token_digest,
                         last_seen_time = coalesce(d.last_seen_time, lost.last_seen_time)
    FROM jsonb_populate_record(NULL::devices, CAST(:state AS jsonb)) AS lost
    WHERE d.device_id = lost.device_id AND d.enroll_time IS NULL AND lost.enroll_time IS NOT NULL
""")
# The time is the present one: streams of devices that were revoked a moment ago are ended.
_REVOKE: Final = sa.text("""
    UPDATE devices d SET revoke_time = :now
    FROM jsonb_populate_record(NULL::devices, CAST(:state AS jsonb)) AS lost
    WHERE d.device_id = lost.device_id AND d.revoke_time IS NULL AND lost.revoke_time IS NOT NULL
""")


def read_unreported(connection: Connection, limit: int) -> Sequence[ReportedDevice]:
    """Return up to `limit` devices whose state the ticket service lacks."""
    return [ReportedDevice(*row) for row in connection.execute(_UNREPORTED, {"limit": limit})]


def mark_reported(connection: Connection, reported: Sequence[ReportedDevice]) -> None:
    """Record that the ticket service has these states."""
    connection.execute(_MARK, [{"state": device.state} for device in reported])


def mark_all_unreported(connection: Connection) -> None:
    """Record that the ticket service may have lost all devices, because its database was restored."""
    connection.execute(devices.update().where(devices.c.reported).values(reported=False))


def take_back(connection: Connection, reported: Sequence[ReportedDevice], now: datetime) -> tuple[int, int]:
    """Take back lost devices, enrollments and revocations; return the numbers of devices and of revocations."""
    restored, revoked = 0, 0
    for device in reported:
        state = {"state": device.state}
        restored += connection.execute(_INSERT, state).rowcount or connection.execute(_ENROLL, state).rowcount
        revoked += connection.execute(_REVOKE, {**state, "now": now}).rowcount
    return restored, revoked
