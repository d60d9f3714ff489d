"""Statements on the progress of looks at providers, and on the queue of payments to compare with the provider."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from ticket_service.domain.looks import Listing, Look
from ticket_service.store.tables import feed, reconciliation_progress, reconciliation_queue

_ENQUEUE: Final = sa.text("""
    INSERT INTO reconciliation_queue (provider, payment_id, due_time, attempts, wakes)
    SELECT :provider, payment_id, :now, 0, 1 FROM unnest(CAST(:payment_ids AS text[])) AS new (payment_id)
    ORDER BY payment_id
    ON CONFLICT (provider, payment_id) DO UPDATE
    SET wakes = reconciliation_queue.wakes + 1, due_time = least(reconciliation_queue.due_time, excluded.due_time)
""")


@dataclass(frozen=True, slots=True)
class QueuedPayment:
    """A payment to compare with its provider."""

    provider: str
    payment_id: str
    due_time: datetime
    attempts: int
    # A wake that arrives during a comparison raises the number, and the payment is compared again.
    wakes: int


def claim_look(connection: Connection, provider: str, now: datetime, until: datetime) -> Look | None:
    """Claim the due step of a provider until a time; return the step as it is stored, None: no step is due."""
    table = reconciliation_progress
    known = sa.select(sa.literal(1)).where(table.c.provider == provider)
    if connection.execute(known).one_or_none() is None:
        new = {"provider": provider, "due_time": now, "listing": Listing.CHARGES, "is_whole": False, "failures": 0}
        connection.execute(postgresql.insert(table).values(new).on_conflict_do_nothing())
    query = (
        sa.select(table)
        .where(table.c.provider == provider, table.c.due_time <= now)
        .with_for_update(key_share=True, skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    connection.execute(sa.update(table).where(table.c.provider == provider).values(due_time=until))
    return Look(**row._asdict() | {"listing": Listing(row.listing)})


def store_look(connection: Connection, look: Look, claimed_until: datetime) -> bool:
    """Store a step unless the claim has passed to another process; return whether it was stored."""
    table = reconciliation_progress
    its = (table.c.provider == look.provider, table.c.due_time == claimed_until)
    return connection.execute(sa.update(table).where(*its).values(asdict(look))).rowcount == 1


def feed_epoch(connection: Connection) -> UUID:
    """Return the epoch of the feed, which changes when the database is restored."""
    epoch: UUID = connection.execute(sa.select(feed.c.epoch)).scalar_one()
    return epoch


def enqueue(connection: Connection, provider: str, payment_ids: Iterable[str], now: datetime) -> None:
    """Make payments due for a comparison; a queued payment stays queued."""
    ids = sorted(set(payment_ids))
    if ids:
        connection.execute(_ENQUEUE, {"provider": provider, "payment_ids": ids, "now": now})


def claim_queued(
    connection: Connection, providers: Sequence[str], now: datetime, until: datetime, limit: int
) -> list[QueuedPayment]:
    """Claim due payments of these providers: no other process compares them before `until`."""
    table = reconciliation_queue
    query = (
        sa.select(table)
        .where(table.c.due_time <= now, table.c.provider.in_(providers))
        .order_by(table.c.due_time)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    found = [QueuedPayment(**row._asdict()) for row in connection.execute(query)]
    for one in found:
        connection.execute(sa.update(table).where(*_is(one)).values(due_time=until, attempts=one.attempts + 1))
    return found


def finish(connection: Connection, compared: QueuedPayment, now: datetime) -> None:
    """Remove a compared payment, or make it due again if a wake arrived during the comparison."""
    table = reconciliation_queue
    done = sa.delete(table).where(*_is(compared), table.c.wakes == compared.wakes)
    if connection.execute(done).rowcount == 0:
        connection.execute(sa.update(table).where(*_is(compared)).values(due_time=now, attempts=0))


def postpone(connection: Connection, failed: QueuedPayment, due_time: datetime) -> None:
    """Make a payment due later, after a failure."""
    connection.execute(sa.update(reconciliation_queue).where(*_is(failed)).values(due_time=due_time))


def _is(one: QueuedPayment) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return reconciliation_queue.c.provider == one.provider, reconciliation_queue.c.payment_id == one.payment_id
