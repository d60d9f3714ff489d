"""PostgreSQL alone: the fastest single-statement transaction for one sale on a hot event, run by pgbench."""

import re
import subprocess

from benchmarks.testbed import Testbed
from ticketing.chassis.postgres.launcher import find_programs

CLIENTS = 32
THREADS = 2
# pgbench counts whole seconds and spends the first one on connecting.
MIN_SECONDS = 3

# The counters come first: sales queue at their lock, and a sold-out sale inserts nothing.
SALE = """
WITH new AS MATERIALIZED (
    SELECT uuidv7() AS purchase_id, uuidv7() AS ticket_id, gen_random_uuid() AS request_id
), sold AS (
    UPDATE events SET reserved = reserved + 1, revision = revision + 1
    WHERE event_id = '{event_id}' AND status = 'PUBLISHED' AND end_time > now()
    RETURNING event_id, currency, revision
), bought AS (
    INSERT INTO purchases (event_id, purchase_id, user_id, items, currency, total, status, provider, metadata,
                           create_time, complete_time)
    SELECT event_id, purchase_id, 'bob', '[["STANDARD", 1, 0]]', currency, 0, 'COMPLETED', 'FREE', '{{}}', now(), now()
    FROM sold, new
), remembered AS (
    INSERT INTO idempotency_keys (caller, request_id, fingerprint, event_id, result_id, create_time)
    SELECT 'shop', request_id, sha256(uuid_send(request_id)), event_id, purchase_id, now() FROM sold, new
)
INSERT INTO tickets (event_id, ticket_id, purchase_id, user_id, ticket_type, status, price, check_in_sequence, issue,
                     revision, code_digest, token_digest, create_time, update_time)
SELECT event_id, ticket_id, purchase_id, 'bob', 'STANDARD', 'ACTIVE', 0, 0, 1, revision,
       sha256(uuid_send(ticket_id)), sha256(uuid_send(purchase_id)), now(), now()
FROM sold, new;
"""


def sales_a_second(testbed: Testbed, event_id: str, seconds: float) -> float:
    """Sell tickets of one event over CLIENTS connections, durably; return transactions a second."""
    script = testbed.directory / "sale.sql"
    script.write_text(SALE.format(event_id=event_id).replace("\n", " ") + "\n")
    pgbench = find_programs() / "pgbench"
    command = [str(pgbench), "--no-vacuum", "--protocol", "prepared", "--file", str(script)]
    command += ["--client", str(CLIENTS), "--jobs", str(THREADS), "--time", f"{max(seconds, MIN_SECONDS):.0f}"]
    done = subprocess.run([*command, testbed.database_url("tickets")], check=True, capture_output=True, text=True)
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if found is None:
        raise ValueError(f"pgbench printed no rate:\n{done.stdout}")
    return float(found.group(1))
