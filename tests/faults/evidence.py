"""Everything that the checks of a run compare: the record of the clients, and the state of services and provider."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from tests.faults.record import Operation
from tests.faults.site import Site
from tests.faults.stored import Stored
from tests.faults.world import World
from ticketing.tickets.v1 import ticket_pb2

CANCELLED = frozenset({ticket_pb2.TICKET_STATUS_CANCELLED, ticket_pb2.TICKET_STATUS_REFUNDED})
REJECTED = ticket_pb2.CANCELLATION_STATUS_REJECTED
# The operations whose answer is a purchase.
BUYS = frozenset({"buy", "buy again", "confirm", "confirm charge", "release"})


@dataclass(frozen=True)
class Evidence:
    """The record and the stored state of one run."""

    site: Site
    world: World
    operations: Sequence[Operation]
    stored: Stored
    _by_kind: dict[str, list[Operation]] = field(init=False, default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for operation in self.operations:
            self._by_kind[operation.kind].append(operation)

    def of(self, *kinds: str) -> list[Operation]:
        """Return the operations of some kinds."""
        return [operation for kind in kinds for operation in self._by_kind[kind]]

    def done(self, *kinds: str) -> list[Operation]:
        """Return the operations of some kinds that the service acknowledged."""
        return [operation for operation in self.of(*kinds) if operation.is_done]

    def possible(self, *kinds: str) -> list[Operation]:
        """Return the operations of some kinds that were not refused: each was done, or nobody knows."""
        return [operation for operation in self.of(*kinds) if operation.is_done or operation.answered is None]

    @cached_property
    def closed(self) -> dict[str, float]:
        """The time since when each cancelled event may be cancelled."""
        return {one.facts["event_id"]: one.sent for one in self.of("cancel event")}

    @cached_property
    def offline_tickets(self) -> set[str]:
        """The tickets about which a device decided alone, or of whose answers nobody knows."""
        lanes = {one.facts["ticket_id"] for one in self.of("lane scan") if one.answer.get("offline", True)}
        return lanes | {one.facts["ticket_id"] for one in self.of("upload")}


def end_of(operation: Operation) -> float:
    """Return the time of the answer; infinite if there was none."""
    return inf if operation.answered is None else operation.answered
