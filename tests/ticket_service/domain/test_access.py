import pytest

from ticket_service.domain.access import administers, organizer_of
from ticketing.chassis.callers import Caller, Role


@pytest.mark.parametrize(
    ("subject", "role", "organizer_id", "is_administrator"),
    [
        ("olga", Role.ORGANIZER, "olga", True),
        ("oscar", Role.ORGANIZER, "oscar", False),
        ("olga", Role.USER, None, False),
        ("shop", Role.SERVICE, None, True),
    ],
)
def test_organizers_administer_their_events_and_services_all(subject, role, organizer_id, is_administrator):
    caller = Caller(subject, frozenset({role}))
    assert (organizer_of(caller), administers(caller, "olga")) == (organizer_id, is_administrator)
