"""The statements of the reports of check-ins."""

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from chassis.arrays import array
from scan_service.domain.feed import CheckIn
from scan_service.store.tables import tickets

# Locked in the order of their ids first, as every batch does.
_MARK: Final = sa.text("""
    WITH confirmed AS (
        SELECT * FROM unnest(CAST(:event_ids AS uuid[]), CAST(:ticket_ids AS uuid[]), CAST(:sequences AS bigint[]))
            AS confirmed(event_id, ticket_id, confirmed_sequence)
    ), held AS (
        SELECT t.event_id, t.ticket_id, confirmed_sequence FROM tickets t JOIN confirmed USING (event_id, ticket_id)
        ORDER BY t.ticket_id FOR UPDATE OF t
    )
    UPDATE tickets t SET reported_sequence = greatest(t.reported_sequence, held.confirmed_sequence)
    FROM held WHERE t.event_id = held.event_id AND t.ticket_id = held.ticket_id
""")


def unreported(connection: Connection, most: int) -> Sequence[CheckIn]:
    """Return check-ins that the ticket service has not confirmed."""
    # Ids as the text that they are told as: PostgreSQL writes a UUID in a tenth of the time that Python takes.
    ids = (sa.cast(column, sa.Text) for column in (tickets.c.event_id, tickets.c.ticket_id))
    columns = (*ids, tickets.c.check_in_time, tickets.c.sequence)
    query = sa.select(*columns).where(tickets.c.sequence > tickets.c.reported_sequence).limit(most)
    return [CheckIn(*row) for row in connection.execute(query)]


def mark_reported(connection: Connection, check_ins: Sequence[CheckIn]) -> None:
    """Note that the ticket service has confirmed them; what has changed since is reported again."""
    connection.execute(
        _MARK,
        {
            "event_ids": array(check_in.event_id for check_in in check_ins),
            "ticket_ids": array(check_in.ticket_id for check_in in check_ins),
            "sequences": array(check_in.sequence for check_in in check_ins),
        },
    )
