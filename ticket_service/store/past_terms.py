"""Statements on the terms that events no longer have."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from ticket_service.domain.events import RefundTier
from ticket_service.domain.terms import PastTerms, Terms
from ticket_service.store.tables import past_terms


def find_past_terms(connection: Connection, event_ids: Collection[UUID]) -> dict[UUID, list[PastTerms]]:
    """Read the past terms of each event, oldest first."""
    found: dict[UUID, list[PastTerms]] = {event_id: [] for event_id in event_ids}
    query = sa.select(past_terms).where(past_terms.c.event_id.in_(event_ids)).order_by(past_terms.c.version)
    for row in connection.execute(query):
        found[row.event_id].append(_past_terms(row))
    return found


def insert_past_terms(connection: Connection, past: PastTerms) -> None:
    """Insert the terms that a change of a locked event replaces."""
    connection.execute(
        sa.insert(past_terms).values(
            event_id=past.event_id,
            version=past.version,
            refund_tiers=[[tier.days_before, tier.percent] for tier in past.terms.refund_tiers],
            start_time=past.terms.start_time,
            end_time=past.terms.end_time,
            time_zone=past.terms.time_zone,
            replace_time=past.replace_time,
            full_refund_until=past.full_refund_until,
        )
    )


def _past_terms(row: Row[Any]) -> PastTerms:
    tiers = tuple(RefundTier(days_before, percent) for days_before, percent in row.refund_tiers)
    terms = Terms(tiers, row.start_time, row.end_time, row.time_zone)
    return PastTerms(row.event_id, row.version, terms, row.replace_time, row.full_refund_until)
