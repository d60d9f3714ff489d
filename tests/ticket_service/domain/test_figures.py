import pytest

from ticket_service.domain.figures import places_left


@pytest.mark.parametrize(
    ("capacity", "reserved", "offers", "left"),
    [
        (None, 7, [], None),
        (100, 30, [], 70),
        # The offers bound the sale of an event without a capacity, if each of them has one.
        (None, 30, [(50, 20), (10, 10)], 30),
        (None, 30, [(50, 20), (None, 10)], None),
        # The lower bound counts.
        (100, 30, [(50, 20), (20, 10)], 40),
        (45, 30, [(50, 20), (20, 10)], 15),
        (100, 30, [(50, 20), (None, 10)], 70),
        # A capacity that was lowered, or a restore, can leave more places sold than there are.
        (10, 12, [], -2),
    ],
)
def test_places_are_left_up_to_the_lower_bound(capacity, reserved, offers, left):
    assert places_left(capacity, reserved, offers) == left
