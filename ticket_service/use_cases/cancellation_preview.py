"""Preview the cancellation of an event: nothing changes."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy.engine import Connection

from ticket_service.domain.cancellation_preview import CancellationPreview, preview_lines
from ticket_service.domain.event_changes import ChangeRules, cancel_event
from ticket_service.domain.refusals import event_not_found
from ticket_service.store import cancellation_preview as store
from ticket_service.store.access import event_administered_by
from ticket_service.store.events import find_event
from ticketing.chassis.callers import Caller
from ticketing.chassis.clock import Clock
from ticketing.chassis.database import Database


class CancellationPreviews:
    """The use case of previews.

    Args:
        database: has a connection of its own, because a preview reads every ticket of an event: it must not keep the
            connections of other calls busy.
        configured: the names of the payment providers that have settings.
        rules: the settings of event changes.
        clock: returns the present time.
    """

    def __init__(self, database: Database, configured: Collection[str], rules: ChangeRules, clock: Clock) -> None:
        self._database = database
        self._configured = configured
        self._rules = rules
        self._clock = clock

    async def preview(self, caller: Caller, event_id: UUID) -> CancellationPreview:
        """Sum up what CancelEvent would do to an event that `caller` administers; raise what it would raise.

        Raises:
            Failure: EVENT_NOT_FOUND or ILLEGAL_TRANSITION; DEPENDENCY_UNAVAILABLE if the read takes longer than 10 s.
        """
        now = self._clock()

        def work(connection: Connection) -> CancellationPreview:
            store.begin_read_only(connection)
            event = find_event(connection, event_id, event_administered_by(caller))
            if event is None:
                raise event_not_found(event_id)
            cancel_event(event, now, self._rules.correction)
            lines = preview_lines(store.group_tickets(connection, event_id), self._configured)
            return CancellationPreview(lines, store.count_held_places(connection, event_id))

        # All sums come from one snapshot, so that they agree.
        return await self._database.run(work, isolation="REPEATABLE READ")
