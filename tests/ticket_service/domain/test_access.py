import pytest

from ticket_service.domain.access import administers, listed_user, organizer_of, sees
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


@pytest.mark.parametrize(
    ("subject", "role", "user_id", "listed"),
    [
        ("alice", Role.USER, "", "alice"),
        ("alice", Role.USER, "alice", "alice"),
        ("alice", Role.USER, "bob", None),
        ("olga", Role.ORGANIZER, "", None),
        # An organizer sees the tickets of a user for own events only.
        ("olga", Role.ORGANIZER, "alice", None),
        ("olga", Role.ORGANIZER, "olga", "olga"),
        ("shop", Role.SERVICE, "", None),
        ("shop", Role.SERVICE, "alice", "alice"),
        ("root", Role.OPERATOR, "alice", "alice"),
    ],
)
def test_a_list_of_one_user_shows_all_rows_of_that_user(subject, role, user_id, listed):
    assert listed_user(Caller(subject, frozenset({role})), user_id) == listed
