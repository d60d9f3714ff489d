"""The events of recent sales batches: a batch reads and locks the counters of an event, and seldom its other columns.

With a hundred events on sale, each order of a batch is for another event.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from ticket_service.domain.events import Event, Offer
from ticket_service.store.events import event_of, offer_of
from ticket_service.store.tables import events, offers
from ticketing.chassis.arrays import ids
from ticketing.chassis.loop_connection import LoopConnection

_EVENT_COLUMNS: Final = tuple(column.name for column in events.columns)
_OFFER_COLUMNS: Final = tuple(column.name for column in offers.columns)
# One row for each offer, and one for an event without offers.
READ_EVENTS: Final = f"""(uuid[]) AS
SELECT {", ".join(f"events.{name}" for name in _EVENT_COLUMNS)}, {", ".join(f"offers.{name}" for name in _OFFER_COLUMNS)}
FROM events LEFT JOIN offers USING (event_id) WHERE events.event_id = ANY ($1) ORDER BY offers.position
"""  # noqa: S608 - names of our own columns
# Each change of an event or its offers raises the version. The time bounds the memory, and the effect of a failover that
# lost a change, after which another change has its version.
KEPT_SECONDS: Final = 1.0


class KnownEvents:
    """The events that batches have read lately; their counters are those of the time at which they were read."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._events: dict[UUID, Event] = {}
        self._until = 0.0

    async def read(self, connection: LoopConnection, versions: Mapping[UUID, int]) -> Sequence[Event]:
        """Return events in their present versions, which the transaction of `connection` has read.

        An event whose row the transaction has not locked may have a later version.
        """
        now = self._monotonic()
        if now >= self._until:
            self._events.clear()
            self._until = now + KEPT_SECONDS
        known = self._events
        if missing := [one for one, version in versions.items() if one not in known or known[one].version != version]:
            known.update(_events_of(await connection.round_trip("EXECUTE read_events(%s)", [ids(missing)])))
        return [known[event_id] for event_id in versions]


def _events_of(rows: Sequence[tuple[Any, ...]]) -> dict[UUID, Event]:
    stored = dict[UUID, dict[str, Any]]()
    price_lists = defaultdict[UUID, list[Offer]](list)
    for row in rows:
        event = dict(zip(_EVENT_COLUMNS, row, strict=False))
        stored[event["event_id"]] = event
        offer = dict(zip(_OFFER_COLUMNS, row[len(_EVENT_COLUMNS) :], strict=True))
        if offer["event_id"] is not None:
            price_lists[offer["event_id"]].append(offer_of(offer))
    return {event_id: event_of(event, price_lists[event_id]) for event_id, event in stored.items()}
