"""Apply reports of check-ins: the scan service has decided, and this service shows the result."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from ticket_service.domain.check_ins import CheckIn, CheckInConflict, judge, latest
from ticket_service.domain.notifications import checked_in
from ticket_service.store import check_ins as store
from ticket_service.store import outbox
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


async def report(database: Database, clock: Clock, reports: Sequence[CheckIn]) -> list[CheckInConflict]:
    """Apply the reports that are not outdated; return the conflicts."""
    now = clock()
    last = latest(reports)

    def work(connection: Connection) -> list[CheckInConflict]:
        applied, conflicts = judge(last, store.lock(connection, last))
        store.apply(connection, applied, now)
        outbox.write(connection, checked_in(applied), now)
        return conflicts

    return await database.run(work)
