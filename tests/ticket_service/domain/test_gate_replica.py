"""What the gates have of an event, from the positions of both services."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ticket_service.domain.gate_replica import Head, ReplicaPosition, compare

NOW = datetime(2026, 11, 29, 20, tzinfo=UTC)
HEAD = Head("epoch.2", revision=7, ticket_revision=None, follow_time=NOW)
POSITION = ReplicaPosition("epoch.2", revision=7, complete_time=NOW, connected_devices=3)


@pytest.mark.parametrize(
    ("position", "ticket_revision", "known", "gates_revision"),
    [
        (POSITION, None, True, 7),
        (replace(POSITION, revision=6), None, False, 6),
        # The ticket changed before the last change that the gates have.
        (replace(POSITION, revision=6), 5, True, 6),
        (replace(POSITION, revision=4), 5, False, 4),
        # Another history of the tickets database gave this revision to another change.
        (replace(POSITION, epoch="before the restore.2"), 5, False, None),
        # A failover lost the commits beyond the newest state.
        (replace(POSITION, revision=8), 5, False, None),
        (replace(POSITION, revision=None), 5, False, None),
        (None, 5, False, None),
    ],
)
def test_gates_have_a_change_by_their_revision_in_the_same_epoch(
    position: ReplicaPosition | None,
    ticket_revision: int | None,
    known: bool,  # noqa: FBT001 - a parameter of the test
    gates_revision: int | None,
) -> None:
    replica = compare(replace(HEAD, ticket_revision=ticket_revision), position)
    assert (replica.known, replica.gates_revision) == (known, gates_revision)
