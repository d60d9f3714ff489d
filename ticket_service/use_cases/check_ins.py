"""Apply reports of check-ins: the scan service has decided, and this service shows the result."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.check_ins import CheckIn, CheckInConflict, judge, latest
from ticket_service.domain.event_cancellation import cancellation_of
from ticket_service.domain.notifications import checked_in
from ticket_service.store import check_ins as store
from ticket_service.store import outbox
from ticket_service.store.cancellations import insert_cancellations
from ticket_service.store.event_cancellation import note_annulments
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database, RowsLocked
from ticketing.chassis.ids import new_id


async def report(
    database: Database, clock: Clock, reports: Sequence[CheckIn], *, skip_locked: bool = False
) -> tuple[list[CheckInConflict], frozenset[tuple[UUID, UUID]]]:
    """Apply the reports that are not outdated; return the conflicts, and the ids of the locked tickets.

    With `skip_locked`, the reports of tickets that another session has locked for longer than the lock_timeout of the
    pool are left out, and all annulments where another session has locked the cancellation of one.

    Raises:
        Failure: OVERLOADED because of a locked row, without `skip_locked`.
    """
    now = clock()
    last = latest(reports)
    annulled = frozenset((report.event_id, report.ticket_id) for report in last if report.check_in_time is None)

    def apply_free(
        connection: Connection, skipped: frozenset[tuple[UUID, UUID]]
    ) -> tuple[list[CheckInConflict], frozenset[tuple[UUID, UUID]]]:
        locked = (store.find(connection, last) - store.lock(connection, last, skip_locked=True).keys()) | skipped
        free = [report for report in last if (report.event_id, report.ticket_id) not in locked]
        return apply_reports(connection, free, now), locked

    try:
        return await database.run(lambda connection: apply_reports(connection, last, now)), frozenset()
    except RowsLocked:
        if not skip_locked:
            raise
    try:
        return await database.run(lambda connection: apply_free(connection, frozenset()))
    except RowsLocked:
        # Only an annulment needs rows beside those of its ticket.
        return await database.run(lambda connection: apply_free(connection, annulled))


async def list_known(database: Database, after: tuple[UUID, UUID], limit: int) -> Sequence[CheckIn]:
    """Read the latest report of up to `limit` tickets that have one, after an event and a ticket, in their order."""
    return await database.run(lambda connection: store.list_known(connection, after, limit))


def apply_reports(connection: Connection, reports: Sequence[CheckIn], now: datetime) -> list[CheckInConflict]:
    """Apply one report for each ticket, in the order of `latest`, unless it is outdated; return the conflicts."""
    applied, conflicts = judge(reports, store.lock(connection, reports))
    store.apply(connection, applied, now)
    outbox.write(connection, checked_in(applied), now)
    _cancel_annulled(connection, [report for report in applied if report.check_in_time is None], now)
    return conflicts


def _cancel_annulled(connection: Connection, annulled: Sequence[CheckIn], now: datetime) -> None:
    """Insert the cancellations that a cancelled event owes to tickets without a standing check-in.

    The batches of the event cancellation have passed over a ticket that was checked in, so its annulment makes the
    cancellation; the sweeper of cancellations settles it.
    """
    if not annulled:
        return
    owed = note_annulments(
        connection, [report.event_id for report in annulled], [report.ticket_id for report in annulled]
    )
    new = [cancellation_of(one.event_cancellation, one.ticket, new_id(), one.currency, now) for one in owed]
    insert_cancellations(connection, new)
