"""Drawings of equal files have one key, so that a file is drawn once."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.domain.drawings import Drawing, drawing_key, print_ticket
from ticket_service.domain.events import Offer, TicketType
from ticket_service.domain.page_design import PageDesign, Paper
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import TicketFormat

SOLD = make_sold(make_event(reserved=5, revision=9, changed_revision=7, offers=(Offer(TicketType.VIP, 1, reserved=3),)))
PRINTED = print_ticket(SOLD, Secrets("TKT-1", "T1A"))
PAGE = Drawing(TicketFormat.PDF, (PRINTED,), "de", NOW)
OTHER = replace(PRINTED, secrets=Secrets("TKT-1", "T1B"))


def test_a_printed_ticket_does_not_change_with_further_sales():
    later = replace(
        SOLD.event, reserved=6, revision=10, changed_revision=10, offers=(Offer(TicketType.VIP, 1, reserved=4),)
    )
    sold = replace(SOLD, event=later, ticket=replace(SOLD.ticket, revision=10))
    assert print_ticket(sold, PRINTED.secrets) == PRINTED


def test_a_printed_ticket_changes_with_all_that_it_shows():
    moved = replace(SOLD, event=replace(SOLD.event, location="Park"))
    assert print_ticket(moved, PRINTED.secrets) != PRINTED
    assert PRINTED.sold.event.offers == (Offer(TicketType.VIP, 1),)


@pytest.mark.parametrize("ticket_format", TicketFormat)
def test_the_time_of_drawing_is_no_part_of_the_key(ticket_format):
    drawing = replace(PAGE, format=ticket_format)
    assert drawing_key(replace(drawing, now=NOW + timedelta(minutes=5))) == drawing_key(drawing)


@pytest.mark.parametrize(
    "change",
    [
        {"tickets": (OTHER,)},
        {"tickets": (PRINTED, OTHER)},
        {"language": "en"},
        {"design": PageDesign(color="#000000")},
        {"paper": Paper.PHONE},
        {"format": TicketFormat.ICS},
    ],
)
def test_every_visible_difference_of_pages_has_another_key(change):
    assert drawing_key(replace(PAGE, **change)) != drawing_key(PAGE)


@pytest.mark.parametrize("ticket_format", [TicketFormat.PNG, TicketFormat.SVG])
def test_a_picture_of_a_code_depends_on_its_token_alone(ticket_format):
    picture = replace(PAGE, format=ticket_format)
    assert drawing_key(replace(picture, language="en", paper=Paper.PHONE)) == drawing_key(picture)
    assert drawing_key(replace(picture, tickets=(OTHER,))) != drawing_key(picture)


def test_formats_have_different_keys():
    assert len({drawing_key(replace(PAGE, format=one)) for one in TicketFormat}) == len(TicketFormat)
