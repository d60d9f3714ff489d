"""What is stored already: tickets and scans of other events, put into both databases by SQL, as if sold and scanned."""

from contextlib import closing

import psycopg2

from benchmarks.stand import Stand
from ticketing.tickets.v1 import event_pb2

TICKETS = 1_000_000
SCANS = 3_000_000

# Ids by number, the same in both databases.
_NUMBERED = "FROM generate_series({first}, {last}) AS n, events WHERE event_id = '{event_id}'"
_TICKET = "md5('ticket' || n)::uuid"

_SELL = (
    """INSERT INTO purchases (event_id, purchase_id, user_id, items, currency, total, status, provider, metadata,
                              create_time, complete_time)
    SELECT event_id, md5('purchase' || n)::uuid, 'user ' || n, '[["STANDARD", 1, 0]]', currency, 0, 'COMPLETED', 'FREE',
           '{{}}', now(), now() """
    + _NUMBERED,
    """INSERT INTO idempotency_keys (caller, request_id, fingerprint, event_id, result_id, create_time)
    SELECT 'shop', md5('request' || n)::uuid, sha256(n::text::bytea), event_id, md5('purchase' || n)::uuid, now() """
    + _NUMBERED,
    f"""INSERT INTO tickets (event_id, ticket_id, purchase_id, user_id, ticket_type, status, price, check_in_sequence,
                             issue, revision, code_digest, token_digest, create_time, update_time)
    SELECT event_id, {_TICKET}, md5('purchase' || n)::uuid, 'user ' || n, 'STANDARD', 'ACTIVE', 0, 0, 1,
           revision + 1 + n - {{first}}, substr(sha256(n::text::bytea), 1, 16), substr(sha256(n::text::bytea), 1, 16),
           now(), now() """
    + _NUMBERED,
    "UPDATE events SET reserved = reserved + {count}, revision = revision + {count} WHERE event_id = '{event_id}'",
)
_COPY = (
    # Where the feed goes on: behind what is put in here.
    "UPDATE feed_cursors SET revision = revision + {count} WHERE event_id = '{event_id}'",
    f"""INSERT INTO tickets (event_id, ticket_id, known, ticket_type, status, issue, code_digest, token_digest,
                             generation, revision, inside, sequence, reported_sequence)
    SELECT event_id, {_TICKET}, true, 'STANDARD', 'ACTIVE', 1, substr(sha256(n::text::bytea), 1, 16),
           substr(sha256(n::text::bytea), 1, 16), 1, 1 + n - {{first}}, false, 0, 0 """
    + _NUMBERED,
    f"""INSERT INTO scans (event_id, scan_id, fingerprint, code, scan_type, verdict, denial_reason, ticket_id,
                           ticket_event_id, ticket_type, scan_time, record_time, location, device_id, scanner_user_id,
                           offline, metadata)
    SELECT event_id, md5('scan' || n || '/' || k)::uuid, substr(sha256(n::text::bytea), 1, 16),
           'TKT-0123456789ABCDEF', 'ACCESS', 'DENIED', 'NOT_CHECKED_IN', {_TICKET}, event_id, 'STANDARD', now(), now(),
           'North 3', '', 'door', false, '{{{{}}}}'
    FROM generate_series(1, {SCANS // TICKETS}) AS k, generate_series({{first}}, {{last}}) AS n, events
    WHERE event_id = '{{event_id}}'""",  # noqa: S608 - as above
)


def fill(its: Stand, events: list[event_pb2.Event]) -> None:
    """Spread TICKETS sales and SCANS scans over `events`."""
    each = TICKETS // len(events)
    for index, event in enumerate(events):
        at = {"event_id": event.event_id, "first": index * each + 1, "last": (index + 1) * each, "count": each}
        its.query("scans", "; ".join(_COPY).format(**at))
        its.query("tickets", "; ".join(_SELL).format(**at))


def settle(its: Stand) -> None:
    """Do now what PostgreSQL would do in its own time, so that what is stored is measured and not that it was put in just now.

    Right after the fill scans were 0.81 of before, with vacuum and the checkpoint beside them; once these are through, 0.91
    to 0.95.
    """
    for database in ("tickets", "scans"):
        with closing(psycopg2.connect(its.database_url(database))) as connection, connection.cursor() as cursor:
            # Neither goes into a transaction.
            connection.autocommit = True
            cursor.execute("VACUUM ANALYZE")
            cursor.execute("CHECKPOINT")
