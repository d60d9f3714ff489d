from dataclasses import replace

import pytest

from tests.selling.calendars import ORGANIZER
from tests.selling.rows import make_event, make_sold
from ticket_service.delivery.emails import Attachments, MailContext, emails_for
from ticket_service.domain.events import EventStatus
from ticket_service.domain.notifications import Kind, Notification

EVENT = make_event()
OF_ALICE, OF_BOB, UNKNOWN = (make_sold(EVENT) for _ in range(3))
HOLDERS = {OF_ALICE.ticket.ticket_id: "alice@example.com", OF_BOB.ticket.ticket_id: "bob@example.com"}


def context(kind: Kind, *tickets, event=EVENT) -> MailContext:
    return MailContext(Notification(EVENT.event_id, kind), event, tickets, "alice@example.com", HOLDERS, ORGANIZER)


def test_each_known_holder_gets_a_mail_about_their_own_tickets():
    found = emails_for(context(Kind.EVENT_CHANGED, OF_ALICE, OF_BOB, UNKNOWN))
    assert [(one.address, one.tickets) for one in found] == [
        ("alice@example.com", (OF_ALICE,)),
        ("bob@example.com", (OF_BOB,)),
    ]


def test_event_change_is_not_mailed_without_valid_tickets():
    assert emails_for(context(Kind.EVENT_CHANGED)) == []


def test_ticket_of_a_cancelled_event_causes_no_second_mail():
    off = replace(EVENT, status=EventStatus.CANCELLED)
    assert emails_for(context(Kind.TICKET_CANCELLED, OF_ALICE, event=off)) == []
    [found] = emails_for(context(Kind.EVENT_CANCELLED, OF_ALICE, event=off))
    assert found.attachments is Attachments.CALENDAR


@pytest.mark.parametrize("kind", [Kind.HOLD_EXPIRED, Kind.REFUND_MADE])
def test_notification_about_no_ticket_goes_to_the_buyer(kind):
    [found] = emails_for(context(kind))
    assert (found.address, found.attachments) == ("alice@example.com", Attachments.NONE)
