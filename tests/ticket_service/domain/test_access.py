import pytest

from ticket_service.domain.access import administers, organizer_of, sees
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


@pytest.mark.parametrize(
    ("subject", "role", "sees_it"),
    [
        ("alice", Role.USER, True),
        ("bob", Role.USER, False),
        ("olga", Role.ORGANIZER, True),
        ("oscar", Role.ORGANIZER, False),
        # An organizer who bought a ticket of another organizer.
        ("alice", Role.ORGANIZER, True),
        # A user with the name of the organizer.
        ("olga", Role.USER, False),
        ("shop", Role.SERVICE, True),
        ("root", Role.OPERATOR, True),
    ],
)
def test_holders_and_organizers_see_their_own_and_backends_all(subject, role, sees_it):
    assert sees(Caller(subject, frozenset({role})), "alice", "olga") is sees_it
