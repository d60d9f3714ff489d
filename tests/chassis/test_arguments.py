"""Arguments that are times."""

from argparse import ArgumentTypeError

import pytest

from ticketing.chassis.arguments import read_past


def test_a_time_without_an_offset_is_utc() -> None:
    assert read_past("2026-11-29T18:00:00") == read_past("2026-11-29T19:00:00+01:00")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("yesterday", "'yesterday' is not a time such as 2030-05-01T20:00:00Z"),
        ("9999-01-01T00:00:00Z", "is in the future"),
    ],
)
def test_a_text_that_is_no_past_time_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ArgumentTypeError, match=fault):
        read_past(text)
