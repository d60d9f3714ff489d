"""Apply reports of check-ins: the scan service has decided, and this service shows the result."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.engine import Connection

from ticket_service.domain.check_ins import CheckIn, CheckInConflict, judge, latest
from ticket_service.domain.event_cancellation import cancellation_of
from ticket_service.domain.notifications import checked_in
from ticket_service.store import check_ins as store
from ticket_service.store import outbox
from ticket_service.store.cancellations import insert_cancellations
from ticket_service.store.event_cancellation import note_annulments
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database
from ticketing.chassis.ids import new_id


async def report(database: Database, clock: Clock, reports: Sequence[CheckIn]) -> list[CheckInConflict]:
    """Apply the reports that are not outdated; return the conflicts."""
    now = clock()
    last = latest(reports)

    def work(connection: Connection) -> list[CheckInConflict]:
        applied, conflicts = judge(last, store.lock(connection, last))
        store.apply(connection, applied, now)
        outbox.write(connection, checked_in(applied), now)
        _cancel_annulled(connection, [report for report in applied if report.check_in_time is None], now)
        return conflicts

    return await database.run(work)


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
