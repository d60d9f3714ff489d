from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.calendars import ALICE, ORGANIZER
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.calendar_entries import (
    MAX_SEQUENCE,
    CalendarEntry,
    Holder,
    entries_of,
    holder_of,
    is_valid,
    method_of,
    organizer_of,
)
from ticket_service.domain.events import EventStatus
from ticket_service.domain.terms import PastTerms, Terms
from ticket_service.domain.tickets import SoldTicket, TicketStatus

EVENT = make_event(starts_in=timedelta(days=10), end_time=NOW + timedelta(days=13), doors_open_time=None)
START, END = EVENT.start_time, EVENT.end_time
DAY = {"valid_from_time": START + timedelta(days=1), "valid_until_time": START + timedelta(days=1, hours=9)}


def entries(concerned: list[SoldTicket], held: list[SoldTicket], holder: Holder = ALICE) -> list[CalendarEntry]:
    return [found.entry for found in entries_of(holder, concerned, held, ORGANIZER)]


def cancelled(sold: SoldTicket) -> SoldTicket:
    """Cancel a ticket as the service does: it takes the next revision of its event."""
    event = replace(sold.event, revision=sold.event.revision + 1)
    return replace(sold, event=event, ticket=replace(sold.ticket, status=TicketStatus.CANCELLED))


def test_four_tickets_of_one_evening_are_one_entry():
    four = [make_sold(EVENT) for _ in range(4)]
    [found] = entries_of(ALICE, four, four, ORGANIZER)
    assert (found.tickets, found.entry.is_removed) == (tuple(four), False)
    assert (found.entry.starts, found.entry.ends) == (START, END)


def test_a_further_ticket_updates_the_entry():
    first, second = make_sold(EVENT), make_sold(EVENT)
    [before] = entries([first], [first])
    [found] = entries_of(ALICE, [second], [first, second], ORGANIZER)
    assert (found.entry.uid, found.tickets) == (before.uid, (first, second))


def test_a_day_ticket_has_an_entry_of_its_own():
    whole, day, other = make_sold(EVENT), make_sold(EVENT, **DAY), make_sold(EVENT, **DAY)
    found = entries([whole, day, other], [whole, day, other])
    assert [(one.starts, one.ends) for one in found] == [(START, END), tuple(DAY.values())]
    assert len({one.uid for one in found}) == 2


def test_a_validity_around_the_event_shares_its_entry():
    early = {"valid_from_time": START - timedelta(hours=2), "valid_until_time": END + timedelta(hours=1)}
    past = {"valid_from_time": START - timedelta(days=3), "valid_until_time": START - timedelta(days=2)}
    tickets = [make_sold(EVENT), make_sold(EVENT, **early), make_sold(EVENT, **past)]
    [found] = entries(tickets, tickets)
    assert (found.starts, found.ends) == (START, END)


def test_the_entry_is_removed_with_the_last_ticket_of_its_hours():
    first, second, day = make_sold(EVENT), make_sold(EVENT), make_sold(EVENT, **DAY)
    [before] = entries([first], [first, second, day])
    [updated] = entries([cancelled(first)], [second, day])
    [removed] = entries([cancelled(cancelled(second))], [day])
    assert {one.uid for one in (before, updated, removed)} == {before.uid}
    assert [one.is_removed for one in (before, updated, removed)] == [False, False, True]
    assert before.sequence < updated.sequence < removed.sequence


def test_a_cancelled_event_removes_one_entry():
    off = replace(EVENT, status=EventStatus.CANCELLED)
    tickets = [make_sold(off) for _ in range(3)]
    [found] = entries_of(ALICE, tickets, tickets, ORGANIZER)
    assert (found.entry.is_removed, found.tickets) == (True, ())


@pytest.mark.parametrize(
    "changes", [{"version": EVENT.version + 1}, {"revision": EVENT.revision + 1}], ids=["location", "ticket"]
)
def test_the_sequence_grows_with_every_change(changes):
    sold = make_sold(EVENT)
    after = replace(sold, event=replace(EVENT, **changes))
    [[before], [later]] = [entries([one], [one]) for one in (sold, after)]
    assert later.sequence > before.sequence


def test_the_sequence_fits_an_integer_of_rfc_5545():
    sold = make_sold(replace(EVENT, revision=2**40))
    assert entries([sold], [sold])[0].sequence == MAX_SEQUENCE == 2_147_483_647


@pytest.mark.parametrize("days", [-2, 1, 30])
def test_an_event_that_moves_keeps_its_entries(days):
    whole, day = make_sold(EVENT), make_sold(EVENT, **DAY)
    before = entries([whole, day], [whole, day])
    moved = replace(EVENT, start_time=START + timedelta(days=days), end_time=END + timedelta(days=days))
    past = PastTerms(EVENT.event_id, EVENT.version, Terms((), START, END, "UTC"), NOW, None)
    tickets = [replace(sold, event=moved, past_terms=(past,)) for sold in (whole, day)]
    assert [one.uid for one in entries(tickets, tickets)] == [one.uid for one in before]
    assert entries(tickets, tickets)[0].starts == moved.start_time


def test_a_reader_sees_only_codes_that_are_theirs():
    mine, of_my_friend = make_sold(EVENT), make_sold(EVENT)
    [found] = entries_of(ALICE, [mine], [mine, of_my_friend], ORGANIZER, lambda sold: sold is mine)
    assert found.tickets == (mine,)
    [left] = entries_of(ALICE, [cancelled(mine)], [of_my_friend], ORGANIZER, lambda sold: sold is mine)
    assert (left.tickets, left.entry.is_removed) == ((), False)


def test_a_holder_is_a_user_or_a_guest_by_address():
    sold = make_sold(EVENT, user_id="shop")
    guest = replace(sold, buyer_id="shop", is_guest=True)
    purchase = sold.ticket.purchase_id
    assert holder_of(sold, "Alice@example.com") == Holder(user_id="shop")
    assert holder_of(guest, "Alice@example.com") == Holder(address="alice@example.com")
    assert holder_of(guest, "") == Holder(purchase_id=purchase)
    transferred = replace(guest, ticket=replace(guest.ticket, user_id="bob"))
    assert holder_of(transferred, "bob@example.com") == Holder(user_id="bob")
    erased = replace(sold, ticket=replace(sold.ticket, user_id=""))
    assert holder_of(erased, "") == Holder(purchase_id=purchase)


def test_two_holders_have_different_entries():
    sold = make_sold(EVENT)
    holders = [ALICE, Holder(user_id="bob"), Holder(address="alice"), Holder(purchase_id=sold.ticket.purchase_id)]
    uids = {entries([sold], [sold], holder)[0].uid for holder in holders}
    assert len(uids) == len(holders)
    assert not any("alice" in uid for uid in uids)


def test_the_uid_never_changes():
    sold = make_sold(replace(EVENT, event_id=EVENT.event_id.__class__(int=7)), **DAY)
    assert entries([sold], [sold])[0].uid == "9da3747a316a2c1faf3c97385da58c84@ticketing"


@pytest.mark.parametrize(
    ("mail_from", "name", "address"),
    [
        ("Concert Hall <tickets@example.com>", "Concert Hall", "tickets@example.com"),
        ("tickets@example.com", "", "tickets@example.com"),
        ("", "", "noreply@ticketing.invalid"),
    ],
)
def test_the_organizer_is_the_sender_of_mails(mail_from, name, address):
    organizer = organizer_of(mail_from)
    assert (organizer.name, organizer.address) == (name, address)


def test_an_entry_shows_its_event_and_the_sender_of_mails():
    event = replace(EVENT, time_zone="Europe/Berlin", location="Park", name="Opera")
    sold = make_sold(event)
    [entry] = entries([sold], [sold])
    assert (entry.name, entry.location, entry.time_zone) == ("Opera", "Park", "Europe/Berlin")
    assert (entry.organizer, entry.sequence) == (ORGANIZER, EVENT.revision + EVENT.version)


def test_an_entry_is_as_new_as_the_last_change_of_the_event_or_a_ticket():
    day = timedelta(days=1)
    old, new = make_sold(EVENT), make_sold(EVENT, update_time=NOW + day)
    later_event = replace(old, event=replace(EVENT, update_time=NOW + 2 * day))
    assert entries([old], [old])[0].update_time == NOW
    assert entries([old], [old, new])[0].update_time == NOW + day
    # The cancelled ticket is the news, although it is held no longer.
    assert entries([cancelled(new)], [old])[0].update_time == NOW + day
    assert entries([later_event], [later_event])[0].update_time == NOW + 2 * day


def test_an_entry_is_published_and_then_cancelled():
    sold = make_sold(EVENT)
    [present], [removed] = entries([sold], [sold]), entries([cancelled(sold)], [])
    assert (method_of(present), method_of(removed)) == ("PUBLISH", "CANCEL")


@pytest.mark.parametrize("status", TicketStatus)
def test_a_ticket_is_valid_until_it_or_its_event_is_cancelled(status):
    sold = make_sold(EVENT, status=status)
    assert is_valid(sold) is (status not in {TicketStatus.CANCELLED, TicketStatus.REFUNDED})
    assert not is_valid(replace(sold, event=replace(EVENT, status=EventStatus.CANCELLED)))


@pytest.mark.parametrize(
    ("validity", "has_own_entry"),
    [
        ({"valid_from_time": START + timedelta(hours=1)}, True),
        ({"valid_until_time": END - timedelta(hours=1)}, True),
        ({"valid_from_time": START}, False),
        ({"valid_until_time": END}, False),
        ({"valid_from_time": START, "valid_until_time": END}, False),
        ({"valid_until_time": START + timedelta(seconds=1)}, True),
        # A validity without a common time with the event says nothing about its hours.
        ({"valid_until_time": START}, False),
        ({"valid_from_time": END}, False),
    ],
)
def test_a_validity_inside_the_event_has_an_entry_of_its_own(validity, has_own_entry):
    whole, other = make_sold(EVENT), make_sold(EVENT, **validity)
    found = entries([whole, other], [whole, other])
    assert len(found) == (2 if has_own_entry else 1)
    hours = (validity.get("valid_from_time", START), validity.get("valid_until_time", END))
    assert (found[-1].starts, found[-1].ends) == (hours if has_own_entry else (START, END))


def test_day_tickets_of_different_days_have_different_entries():
    days = [
        make_sold(
            EVENT, valid_from_time=START + timedelta(days=day), valid_until_time=START + timedelta(days=day, hours=9)
        )
        for day in (0, 1)
    ]
    from_then = make_sold(EVENT, valid_from_time=START + timedelta(days=1))
    until_then = make_sold(EVENT, valid_until_time=START + timedelta(days=1))
    tickets = [*days, from_then, until_then]
    assert len({one.uid for one in entries(tickets, tickets)}) == 4


def test_an_entry_lasts_from_the_first_begin_to_the_last_end_of_its_tickets():
    # The event has moved by two hours since the sale, and the tickets share the entry that they had then.
    past = PastTerms(EVENT.event_id, EVENT.version, Terms((), START, END, "UTC"), NOW, None)
    moved = replace(EVENT, start_time=START - timedelta(hours=2), end_time=END + timedelta(hours=2))
    bound = {"valid_from_time": START, "valid_until_time": END}
    tickets = [replace(make_sold(moved, **validity), past_terms=(past,)) for validity in (bound, {}, bound)]
    [found] = entries(tickets, tickets)
    assert (found.starts, found.ends) == (moved.start_time, moved.end_time)
    [short] = entries([tickets[0]], [tickets[0], tickets[2]])
    assert (short.starts, short.ends) == (START, END)


@pytest.mark.parametrize(
    ("holder", "uid"),
    [
        (ALICE, "c630c14f30f33422b23f2339319ba571"),
        (Holder(address="alice@example.com"), "381af1927038477bbb99242759e6e5d8"),
        (Holder(purchase_id=EVENT.event_id.__class__(int=8)), "d4b4ad7200077ee4830bf6331c52ba73"),
    ],
)
def test_the_uid_of_a_whole_event_never_changes(holder, uid):
    sold = make_sold(replace(EVENT, event_id=EVENT.event_id.__class__(int=7)))
    assert entries([sold], [sold], holder)[0].uid == f"{uid}@ticketing"
