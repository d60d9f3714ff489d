"""The position of the gates behind the changes of an event."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Head:
    """The newest state of an event, and of one of its tickets, in this database."""

    # The epoch of the revisions.
    epoch: str
    revision: int
    # None: the question is about the event and all of its tickets.
    ticket_revision: int | None
    # The last time at which a scan service followed the feed; None: none ever did.
    follow_time: datetime | None


@dataclass(frozen=True, slots=True)
class ReplicaPosition:
    """The position of the scan service's replica for one event."""

    epoch: str
    # None: no change of the event has arrived in this epoch.
    revision: int | None
    complete_time: datetime | None
    connected_devices: int


@dataclass(frozen=True, slots=True)
class GateReplica:
    """What the gates have of an event."""

    known: bool
    head: Head
    # None: the scan service did not answer.
    position: ReplicaPosition | None

    @property
    def gates_revision(self) -> int | None:
        """Return the revision up to which the gates have every change; None where they have none of this epoch."""
        return None if self.position is None else _revision(self.head, self.position)


def compare(head: Head, position: ReplicaPosition | None) -> GateReplica:
    """Compare the position of the replica with the newest state, which was read after the position."""
    revision = None if position is None else _revision(head, position)
    wanted = head.revision if head.ticket_revision is None else head.ticket_revision
    return GateReplica(revision is not None and revision >= wanted, head, position)


def _revision(head: Head, position: ReplicaPosition) -> int | None:
    """Return the revision of a position, unless it belongs to another history of the tickets database.

    A position beyond the head remains after a failover that lost commits: its revisions are given again, to other changes.
    """
    is_ours = position.epoch == head.epoch and position.revision is not None and position.revision <= head.revision
    return position.revision if is_ours else None
