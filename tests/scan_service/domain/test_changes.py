"""Tests of the cursors that gate devices send."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan_service.domain.changes import Cursor, read_cursor
from scan_service.domain.write_ahead_log import LogPlace

EPOCH, TICKET = uuid.UUID(int=1), uuid.UUID(int=2)
NUMBERS = st.integers(0, 10**19 - 1)


@given(
    st.builds(
        Cursor,
        st.uuids(),
        NUMBERS,
        st.none() | st.tuples(NUMBERS, st.uuids()),
        st.none() | st.builds(LogPlace, NUMBERS, NUMBERS),
    )
)
def test_a_cursor_is_read_as_it_was_written(cursor):
    assert read_cursor(str(cursor)) == cursor


def test_a_cursor_may_have_the_largest_transaction_of_all():
    largest = Cursor(EPOCH, 2**63 - 1, (2**63 - 1, TICKET), LogPlace(1, 2**63 - 1))
    assert read_cursor(str(largest)) == largest


def test_the_text_of_a_cursor_stays_readable_for_other_versions():
    assert str(Cursor(EPOCH, 7)) == f"{EPOCH}:7"
    assert str(Cursor(EPOCH, 7, (9, TICKET))) == f"{EPOCH}:7:9:{TICKET}"
    assert str(Cursor(EPOCH, 7, (9, TICKET), LogPlace(3, 4))) == f"{EPOCH}:7:9:{TICKET}@3.4"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        f"{EPOCH}",
        f"{EPOCH}:",
        f"{EPOCH}:7:9",
        f"{EPOCH}:7:9:{TICKET}:1",
        f"{EPOCH}:+7",
        f"{EPOCH}: 7",
        f"{EPOCH}:-7",
        f"{EPOCH}:7_0",
        f"{EPOCH}:٣",
        f"{EPOCH}:{'9' * 20}",
        f"{EPOCH}:7:x:{TICKET}",
        f"{EPOCH}:7:9:ticket",
        "epoch:7",
        f"{EPOCH}:7@",
        f"{EPOCH}:7@3",
        f"{EPOCH}:7@3.4.5",
        f"{EPOCH}:7@3.x",
        f"{EPOCH}:7@x.4",
    ],
)
def test_a_malformed_cursor_is_none(text):
    assert read_cursor(text) is None


def test_the_latest_transaction_of_a_cursor_is_that_of_its_row_or_horizon():
    assert Cursor(EPOCH, 7).latest == 7
    assert Cursor(EPOCH, 7, (9, TICKET)).latest == 9
    assert Cursor(EPOCH, 7, (5, TICKET)).latest == 7
