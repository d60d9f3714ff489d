from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.selling.rows import make_event
from ticket_service.domain.events import AdmissionPolicy, EventStatus, Offer, TicketType
from ticket_service.domain.purchases import Item
from ticket_service.domain.recovery import (
    Finding,
    FindingKind,
    KnownEvent,
    KnownTicket,
    Mending,
    OwnTicket,
    event_findings,
    mendings,
    priced_items,
    purchases_of_tickets,
)
from ticket_service.domain.ticket_ids import ticket_ids_of
from ticket_service.domain.tickets import TicketStatus
from ticketing.chassis.ids import new_id

ACTIVE, BLOCKED, REFUNDED = TicketStatus.ACTIVE, TicketStatus.BLOCKED, TicketStatus.REFUNDED
TIME = datetime(2026, 11, 29, tzinfo=UTC)
KNOWN = KnownTicket(
    ticket_id=new_id(),
    ticket_type=TicketType.STANDARD,
    status=ACTIVE,
    valid_from_time=None,
    valid_until_time=None,
    issue=1,
    purchase_id=None,
    is_replicated=True,
    check_in_time=None,
    sequence=0,
)
OWN = OwnTicket(KNOWN.ticket_id, ACTIVE, issue=1, revision=5, check_in_sequence=0)


@pytest.mark.parametrize(
    ("own", "known", "cursor", "wanted"),
    [
        ({}, {}, 9, []),
        ({}, {"issue": 3}, 9, [Mending.TAKE_ISSUE]),
        ({"issue": 2}, {"issue": 1}, 9, []),
        # The sweeper continues the reissue and the cancellation by their ids.
        ({"pending_issue": 2}, {"issue": 2}, 9, []),
        ({"has_pending_cancellation": True}, {"status": REFUNDED}, 9, []),
        ({}, {"status": REFUNDED}, 9, [Mending.CANCEL]),
        ({"status": REFUNDED}, {}, 9, []),
        ({}, {"status": BLOCKED}, 9, [Mending.BLOCK]),
        ({"status": BLOCKED}, {}, 9, [Mending.UNBLOCK]),
        # The feed has not delivered the present state: it is newer than that of the gates.
        ({}, {"status": BLOCKED}, 4, []),
        ({"status": BLOCKED}, {}, 4, []),
        # The position is lost, so the safe state stays.
        ({}, {"status": BLOCKED}, 0, [Mending.BLOCK]),
        ({"status": BLOCKED}, {}, 0, []),
        ({"status": BLOCKED}, {"is_replicated": False}, 9, []),
        ({}, {"sequence": 1, "check_in_time": TIME}, 9, [Mending.CHECK_IN]),
        ({"check_in_sequence": 2}, {"sequence": 1, "check_in_time": TIME}, 9, []),
        ({}, {"issue": 2, "status": REFUNDED}, 9, [Mending.TAKE_ISSUE, Mending.CANCEL]),
    ],
)
def test_a_difference_that_proves_a_lost_change_is_mended(own, known, cursor, wanted):
    assert mendings(replace(OWN, **own), replace(KNOWN, **known), cursor) == wanted


def test_items_have_the_prices_of_the_event_or_equal_parts():
    event = make_event(ticket_price=1_000)
    types = [TicketType.STANDARD] * 3
    assert [(one.quantity, one.unit_price) for one in priced_items(types, event, 3_000)] == [(3, 1_000)]
    assert [(one.quantity, one.unit_price) for one in priced_items(types, event, 2_000)] == [
        (1, 667),
        (1, 667),
        (1, 666),
    ]


def test_items_of_several_types_are_grouped_in_the_order_of_the_tickets():
    vip = Offer(TicketType.VIP, 5_000)
    event = make_event(ticket_price=1_000, offers=(vip,))
    types = [TicketType.VIP, TicketType.VIP, TicketType.STANDARD, TicketType.VIP]
    assert priced_items(types, event, 16_000) == (
        Item(TicketType.VIP, 2, 5_000),
        Item(TicketType.STANDARD, 1, 1_000),
        Item(TicketType.VIP, 1, 5_000),
    )
    assert [item.unit_price for item in priced_items(types, event, 10)] == [3, 3, 2, 2]
    assert [item.ticket_type for item in priced_items(types, event, 10)] == types


OWN_EVENT = make_event(revision=9, changed_revision=5)
KNOWN_EVENT = KnownEvent(
    OWN_EVENT.event_id,
    OWN_EVENT.organizer_id,
    OWN_EVENT.name,
    EventStatus.PUBLISHED,
    AdmissionPolicy.SINGLE_ENTRY,
    OWN_EVENT.admits_from,
    OWN_EVENT.end_time,
    is_closed=False,
    revision=7,
)


def test_an_event_that_the_gates_have_alike_lost_nothing():
    assert event_findings(OWN_EVENT, KNOWN_EVENT) == []


def test_an_event_of_the_gates_alone_is_lost():
    assert event_findings(None, KNOWN_EVENT) == [
        Finding(
            FindingKind.EVENT_LOST,
            str(OWN_EVENT.event_id),
            OWN_EVENT.event_id,
            {"name": "Concert", "organizer_id": "olga", "status": "PUBLISHED"},
        )
    ]


@pytest.mark.parametrize(
    ("own", "known", "kinds"),
    [
        ({"status": EventStatus.DRAFT}, {}, [FindingKind.EVENT_PUBLISHED]),
        ({"status": EventStatus.DRAFT}, {"status": EventStatus.DRAFT}, []),
        ({}, {"status": EventStatus.DRAFT}, []),
        # The scan service closed the event for its cancellation.
        ({}, {"is_closed": True}, [FindingKind.EVENT_CANCELLED]),
        ({"status": EventStatus.DRAFT}, {"is_closed": True}, [FindingKind.EVENT_CANCELLED]),
        ({"status": EventStatus.CANCELLED}, {"is_closed": True}, []),
        (
            {"status": EventStatus.DRAFT, "name": "Party"},
            {},
            [FindingKind.EVENT_PUBLISHED, FindingKind.EVENT_CHANGE_LOST],
        ),
        # The feed has not delivered the present state of the event, so a difference is no lost change.
        ({"name": "Party"}, {"revision": 4}, []),
        ({"name": "Party"}, {"revision": 5}, [FindingKind.EVENT_CHANGE_LOST]),
        ({"name": "Party"}, {"valid_from_time": None}, []),
        ({"name": "Party"}, {"revision": 4, "is_closed": True}, [FindingKind.EVENT_CANCELLED]),
    ],
)
def test_a_difference_from_the_gates_is_a_lost_change(own, known, kinds):
    found = event_findings(replace(OWN_EVENT, **own), replace(KNOWN_EVENT, **known))
    assert [one.kind for one in found] == kinds
    assert {(one.subject, one.event_id) for one in found} <= {(str(OWN_EVENT.event_id), OWN_EVENT.event_id)}


@pytest.mark.parametrize(
    ("known", "details"),
    [
        ({"name": "Party"}, {"name": {"gates": "Party", "here": "Concert"}}),
        (
            {"policy": AdmissionPolicy.UNLIMITED},
            {"admission_policy": {"gates": "UNLIMITED", "here": "SINGLE_ENTRY"}},
        ),
        (
            {"valid_from_time": TIME},
            {"valid_from_time": {"gates": "2026-11-29T00:00:00+00:00", "here": "2030-06-11T11:00:00+00:00"}},
        ),
        (
            {"valid_until_time": TIME},
            {"valid_until_time": {"gates": "2026-11-29T00:00:00+00:00", "here": "2030-06-11T16:00:00+00:00"}},
        ),
    ],
)
def test_a_lost_change_of_an_event_shows_both_values(known, details):
    [found] = event_findings(OWN_EVENT, replace(KNOWN_EVENT, **known))
    assert (found.kind, found.details) == (FindingKind.EVENT_CHANGE_LOST, details)


@pytest.mark.parametrize("kind", FindingKind)
def test_a_person_judges_all_that_was_not_mended(kind):
    restored = {"KEY_RESTORED", "KEY_RETIRED", "PURCHASE_RESTORED", "CANCELLATION_RESTORED", "CHECK_IN_RESTORED"}
    mended = restored | {"EVENT_PUBLISHED", "EVENT_CANCELLED", "TICKET_BLOCKED", "TICKET_UNBLOCKED"}
    assert Finding(kind, "subject").is_lost is (kind.value not in mended)


@pytest.mark.parametrize("status", TicketStatus)
def test_gates_deny_a_cancelled_ticket_for_good(status):
    is_cancelled = status in {TicketStatus.CANCELLED, TicketStatus.REFUNDED}
    assert replace(KNOWN, status=status).is_cancelled is is_cancelled


def tickets_of(purchase_id, count, /, **changes) -> list[KnownTicket]:
    return [replace(KNOWN, ticket_id=one, **changes) for one in ticket_ids_of(purchase_id, count, new_id())]


def test_lost_tickets_prove_by_their_ids_which_purchase_they_belong_to():
    first, second = new_id(), new_id()
    of_first, of_second, of_others = tickets_of(first, 3), tickets_of(second, 2), tickets_of(new_id(), 1)
    lost = [of_second[1], *of_first[:2], *of_others, of_second[0]]
    found, others = purchases_of_tickets(lost, [first, second])
    assert found == {second: {1: of_second[1], 0: of_second[0]}, first: dict(enumerate(of_first[:2]))}
    assert others == of_others


def test_a_named_purchase_counts_only_if_the_id_proves_it():
    first, second = new_id(), new_id()
    [right] = tickets_of(first, 1, purchase_id=first)
    [wrong] = tickets_of(second, 1, purchase_id=first)
    [elsewhere] = tickets_of(second, 1, purchase_id=new_id())
    found, others = purchases_of_tickets([right, wrong, elsewhere], [second, first])
    assert found == {first: {0: right}, second: {0: elsewhere}}
    assert others == [wrong]


def test_without_candidates_no_ticket_belongs_to_a_purchase():
    assert purchases_of_tickets([KNOWN], []) == ({}, [KNOWN])


def test_a_reissue_that_is_older_than_the_lost_one_is_not_enough():
    pending = replace(OWN, pending_issue=2)
    assert mendings(pending, replace(KNOWN, issue=3), 9) == [Mending.TAKE_ISSUE]
    assert mendings(replace(OWN, issue=4, pending_issue=2), replace(KNOWN, issue=3), 9) == []


@pytest.mark.parametrize(("cursor", "is_known"), [(4, False), (5, True), (6, True)])
def test_a_block_is_lost_if_the_gates_have_the_tickets_revision(cursor, is_known):
    assert mendings(OWN, replace(KNOWN, status=BLOCKED), cursor) == ([Mending.BLOCK] if is_known else [])
    assert mendings(replace(OWN, status=BLOCKED), KNOWN, cursor) == ([Mending.UNBLOCK] if is_known else [])


def test_the_first_revision_unblocks_as_every_later_one():
    assert mendings(replace(OWN, status=BLOCKED, revision=1), KNOWN, 1) == [Mending.UNBLOCK]
