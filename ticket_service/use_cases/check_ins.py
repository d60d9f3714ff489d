"""Taking reports of check-ins: the scan service decided, this side only shows it."""

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from ticket_service.domain.check_ins import CheckIn, Conflict, judge, latest
from ticket_service.domain.notifications import checked_in
from ticket_service.store import check_ins as store
from ticket_service.store import outbox
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


async def report(database: Database, clock: Clock, reports: Sequence[CheckIn]) -> list[Conflict]:
    """Apply what is news, and return what cannot be."""
    now = clock()
    news = latest(reports)

    def work(connection: Connection) -> list[Conflict]:
        applied, conflicts = judge(news, store.lock(connection, news))
        store.apply(connection, applied, now)
        outbox.write(connection, checked_in(applied), now)
        return conflicts

    return await database.run(work)
