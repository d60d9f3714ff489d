"""An erasure goes through all groups of rows, and through the scans of a user, before it is complete."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.selling.rows import NOW
from ticket_service.domain.erasures import (
    LEASE,
    NOTHING,
    Erased,
    Erasure,
    ErasureStatus,
    ScanCursor,
    Step,
    SubjectKind,
    advance,
    advance_scans,
    begin,
    restart,
)
from ticketing.chassis.ids import new_id

LATER = NOW + timedelta(minutes=5)
USER = begin(new_id(), SubjectKind.USER, "alice", NOW)
ADDRESS = begin(new_id(), SubjectKind.ADDRESS, "alice@example.com", NOW)
COUNTS = ("purchases", "tickets", "contacts", "notifications", "requests", "scans")


def counts(erasure: Erasure) -> list[int]:
    return [getattr(erasure, name) for name in COUNTS]


def steps_of(erasure: Erasure) -> list[Step]:
    """Return the steps that an erasure goes through if no row is left in any of them."""
    steps = []
    while erasure.step is not None:
        steps.append(erasure.step)
        erasure = advance(erasure, NOTHING, LATER)
    return steps


def in_scans() -> Erasure:
    erasure = USER
    while erasure.step is not None:
        erasure = advance(erasure, NOTHING, NOW)
    return erasure


@pytest.mark.parametrize(("erasure", "subject"), [(USER, "alice"), (ADDRESS, "alice@example.com")])
def test_a_new_erasure_has_erased_nothing(erasure, subject):
    assert (erasure.subject, erasure.status) == (subject, ErasureStatus.ERASING_TICKETS)
    assert (counts(erasure), erasure.kept_events, erasure.attempts) == ([0] * 6, 0, 0)
    assert (erasure.create_time, erasure.complete_time) == (NOW, None)
    # The process that began it continues it; another one may after this time.
    assert erasure.due_time == NOW + LEASE


def test_another_process_continues_an_erasure_after_a_minute():
    assert USER.due_time == NOW + timedelta(minutes=1)


def test_every_group_of_rows_of_a_user_is_erased_transfers_first():
    steps = steps_of(USER)
    assert (steps[0], set(steps), len(steps)) == (Step.TRANSFERS, set(Step), len(Step))
    # The relay moves rows of the outbox to the deliveries.
    assert steps.index(Step.OUTBOX) < steps.index(Step.DELIVERIES)


def test_an_address_stands_in_transfers_and_purchases_alone():
    assert steps_of(ADDRESS) == [Step.TRANSFERS, Step.PURCHASES]


@pytest.mark.parametrize("name", COUNTS)
def test_a_batch_is_counted_and_its_step_goes_on(name):
    before: dict[str, Any] = dict.fromkeys(COUNTS, 10)
    failed = replace(USER, attempts=3, **before)
    after = advance(failed, Erased(**{name: 2}), LATER)
    assert after.step is Step.TRANSFERS
    assert counts(after) == [12 if one == name else 10 for one in COUNTS]
    assert (after.attempts, after.due_time) == (0, LATER + LEASE)


def test_the_scans_of_a_user_are_erased_after_all_tickets():
    erasure = in_scans()
    assert (erasure.status, erasure.scan_cursor) == (ErasureStatus.ERASING_SCANS, None)
    assert (erasure.subject, erasure.complete_time) == ("alice", None)


def test_a_batch_without_a_step_changes_no_step():
    # Another process ended the last step meanwhile.
    after = advance(in_scans(), NOTHING, LATER)
    assert (after.status, after.due_time) == (ErasureStatus.ERASING_SCANS, LATER + LEASE)


def test_each_part_of_the_scans_moves_the_cursor():
    cursor = ScanCursor(new_id(), new_id())
    first = advance_scans(in_scans(), 7, cursor, LATER)
    assert (first.status, first.scan_cursor, first.scans) == (ErasureStatus.ERASING_SCANS, cursor, 7)
    assert (first.subject, first.due_time) == ("alice", LATER + LEASE)
    last = advance_scans(first, 2, None, LATER)
    assert (last.status, last.scans) == (ErasureStatus.COMPLETE, 9)


@pytest.mark.parametrize("missing", ["scan_event_id", "scan_id"])
def test_a_part_of_a_cursor_is_no_cursor(missing):
    erasure = replace(in_scans(), scan_event_id=new_id(), scan_id=new_id())
    part: dict[str, Any] = {missing: None}
    assert replace(erasure, **part).scan_cursor is None


def complete_user() -> Erasure:
    return advance_scans(advance_scans(in_scans(), 1, ScanCursor(new_id(), new_id()), NOW), 0, None, LATER)


def complete_address() -> Erasure:
    return advance(advance(ADDRESS, NOTHING, NOW), NOTHING, LATER)


@pytest.mark.parametrize("complete", [complete_user, complete_address])
def test_a_complete_erasure_contains_no_name_and_is_never_due(complete):
    erasure = complete()
    assert (erasure.status, erasure.complete_time) == (ErasureStatus.COMPLETE, LATER)
    assert (erasure.subject, erasure.scan_cursor, erasure.due_time) == (None, None, None)
    assert (erasure.scan_event_id, erasure.scan_id) == (None, None)


def test_a_repeated_request_looks_at_all_tickets_again():
    assert restart(in_scans()) == replace(in_scans(), step=Step.TRANSFERS)
    under_way = advance(USER, NOTHING, NOW)
    assert restart(under_way) == under_way
