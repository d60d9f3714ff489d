from dataclasses import replace

import pytest

from tests.selling.rows import make_event, make_sold
from ticket_service.delivery.emails import Attachments, MailContext, emails_for
from ticket_service.domain.events import EventStatus
from ticket_service.domain.notifications import Kind, Notification

EVENT = make_event()
MINE, GIVEN_AWAY, UNKNOWN = (make_sold(EVENT) for _ in range(3))
HOLDERS = {MINE.ticket.ticket_id: "alice@example.com", GIVEN_AWAY.ticket.ticket_id: "bob@example.com"}


def context(kind: Kind, *tickets, event=EVENT) -> MailContext:
    return MailContext(Notification(EVENT.event_id, kind), event, tickets, "alice@example.com", HOLDERS)


def test_each_holder_is_told_of_their_own_tickets_and_nobody_whose_address_is_unknown():
    told = emails_for(context(Kind.EVENT_CHANGED, MINE, GIVEN_AWAY, UNKNOWN))
    assert [(one.address, one.tickets) for one in told] == [
        ("alice@example.com", (MINE,)),
        ("bob@example.com", (GIVEN_AWAY,)),
    ]


def test_a_change_is_no_news_where_everything_was_given_back():
    assert emails_for(context(Kind.EVENT_CHANGED)) == []


def test_what_a_calling_off_gives_back_was_told_by_it():
    off = replace(EVENT, status=EventStatus.CANCELLED)
    assert emails_for(context(Kind.TICKET_CANCELLED, MINE, event=off)) == []
    [told] = emails_for(context(Kind.EVENT_CANCELLED, MINE, event=off))
    assert told.attachments is Attachments.CALENDAR_REMOVAL


@pytest.mark.parametrize("kind", [Kind.HOLD_EXPIRED, Kind.REFUND_MADE])
def test_what_is_about_no_ticket_is_told_to_the_buyer(kind):
    [told] = emails_for(context(kind))
    assert (told.address, told.attachments) == ("alice@example.com", Attachments.NONE)
