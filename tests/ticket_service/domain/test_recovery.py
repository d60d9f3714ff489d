from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.selling.rows import make_event
from ticket_service.domain.events import TicketType
from ticket_service.domain.recovery import KnownTicket, Mending, OwnTicket, mendings, priced_items
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
