from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.events import AdmissionPolicy
from ticket_service.domain.tickets import TicketStatus, ticket_hours
from ticketing.chassis.callers import Caller, Role
from ticketing.chassis.ids import new_id


def test_a_ticket_is_active_until_the_last_moment_of_its_validity():
    sold = make_sold(make_event())
    assert sold.status_at(sold.event.end_time) is TicketStatus.ACTIVE
    assert sold.status_at(sold.event.end_time + timedelta(microseconds=1)) is TicketStatus.EXPIRED


def test_a_tickets_own_validity_precedes_that_of_its_event():
    sold = make_sold(make_event(), valid_from_time=NOW, valid_until_time=NOW + timedelta(days=1))
    assert (sold.valid_from, sold.valid_until) == (NOW, NOW + timedelta(days=1))
    assert sold.status_at(NOW + timedelta(days=2)) is TicketStatus.EXPIRED


def test_a_ticket_is_valid_from_doors_or_else_from_the_start():
    event = make_event()
    assert make_sold(event).valid_from == event.doors_open_time
    assert make_sold(replace(event, doors_open_time=None)).valid_from == event.start_time


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (AdmissionPolicy.SINGLE_ENTRY, TicketStatus.USED),
        (AdmissionPolicy.RE_ENTRY, TicketStatus.ACTIVE),
        (AdmissionPolicy.UNLIMITED, TicketStatus.ACTIVE),
        (AdmissionPolicy.ONCE_PER_DAY, TicketStatus.ACTIVE),
    ],
)
def test_a_check_in_uses_only_a_single_entry_ticket(policy, status):
    sold = make_sold(make_event(admission_policy=policy), check_in_time=NOW)
    assert sold.status_at(NOW) is status


def test_a_used_ticket_stays_used_when_the_event_is_over():
    sold = make_sold(make_event(), check_in_time=NOW)
    assert sold.status_at(NOW + timedelta(days=99)) is TicketStatus.USED


def test_a_stored_status_precedes_a_derived_one():
    sold = make_sold(make_event(), check_in_time=NOW, status=TicketStatus.REFUNDED)
    assert sold.status_at(NOW + timedelta(days=99)) is TicketStatus.REFUNDED


@pytest.mark.parametrize(
    ("subject", "role", "opens", "pays"),
    [
        ("alice", Role.USER, True, True),
        ("bob", Role.USER, False, False),
        ("olga", Role.ORGANIZER, True, True),
        ("oscar", Role.ORGANIZER, False, False),
        # The organizer's subject without the organizer's role.
        ("olga", Role.USER, False, False),
        ("shop", Role.SERVICE, True, True),
    ],
)
def test_holder_services_and_organizer_see_secrets_and_payment(subject, role, opens, pays):
    sold = make_sold(make_event(organizer_id="olga"))
    caller = Caller(subject, frozenset({role}))
    assert (sold.may_be_opened_by(caller), sold.may_show_payment_to(caller)) == (opens, pays)


def test_holders_see_no_payment_and_buyers_no_secrets_of_others():
    sold = make_sold(make_event(), user_id="bob")
    bob, alice = (Caller(subject, frozenset({Role.USER})) for subject in ("bob", "alice"))
    assert (sold.may_be_opened_by(bob), sold.may_show_payment_to(bob)) == (True, False)
    assert (sold.may_be_opened_by(alice), sold.may_show_payment_to(alice)) == (False, True)


def test_a_cancellation_refunds_at_most_what_earlier_refunds_left():
    sold = make_sold(make_event(), price=2_500, refunded=700)
    assert sold.ticket.refundable == 1_800
    assert sold.refund_at(NOW).amount == 1_800


@pytest.mark.parametrize(
    ("metadata", "holder", "name"),
    [
        ({"holder_name": "Alice Liddell"}, "alice", "Alice Liddell"),
        ({"holder_name": "Alice Liddell"}, "bob", ""),
        ({"holder_name": 7}, "alice", ""),
        ({"name": "Alice Liddell"}, "alice", ""),
    ],
)
def test_a_ticket_shows_its_holder_until_it_is_transferred(metadata, holder, name):
    assert replace(make_sold(make_event(), user_id=holder), metadata=metadata).holder_name == name


def test_a_ticket_is_cancellable_until_it_is_used_cancelled_or_over():
    sold = make_sold(make_event(admission_policy=AdmissionPolicy.RE_ENTRY))
    assert sold.is_cancellable_at(NOW)
    inside = make_sold(sold.event, check_in_time=NOW)
    assert inside.status_at(NOW) is TicketStatus.ACTIVE
    assert not inside.is_cancellable_at(NOW)
    assert not replace(sold, cancellation_id=new_id()).is_cancellable_at(NOW)
    assert not make_sold(sold.event, status=TicketStatus.BLOCKED).is_cancellable_at(NOW)
    assert not sold.is_cancellable_at(sold.event.end_time + timedelta(seconds=1))


def test_the_hours_of_a_day_ticket_are_those_within_the_event():
    event = make_event()
    start, end, hour = event.start_time, event.end_time, timedelta(hours=1)

    def hours(first, last):
        return ticket_hours(make_sold(event, valid_from_time=first, valid_until_time=last))

    assert hours(None, None) == hours(start - hour, end + hour) == (start, end)
    assert hours(start + hour, end - hour) == (start + hour, end - hour)
    # Hours outside those of the event are no hours of it.
    assert hours(end, end + hour) == hours(end + hour, end + 2 * hour) == (start, end)
