"""The masked description of a holder, and the forms of a searched text."""

import pytest

from ticket_service.domain.look_ups import HeldTicket, describe_holder, read_search
from ticketing.chassis.ids import new_id


@pytest.mark.parametrize(
    ("name", "email", "shown"),
    [
        ("Anna Schmidt", "anna.schmidt@example.com", "Anna S…, an…@example.com"),
        ("Anna", "", "Anna"),
        ("", "b@example.com", "b…@example.com"),
        ("", "", ""),
        ("José  de la Cruz y Vega", "", "José d… l… C…"),
        ("x" * 100, "", "x" * 30),
        ("Anna\x1b[2J\nSchmidt", "", "Anna [… S…"),
        ("", "not an address", ""),
        # RFC 5321 permits an @ in quotation marks; the last one begins the domain.
        ("", '"a@b"@example.com', '"a…@example.com'),
    ],
)
def test_a_holder_is_described_and_not_revealed(name, email, shown):
    assert describe_holder(HeldTicket(new_id(), 1, name, email)) == shown


def test_a_text_is_composed_and_in_lower_case():
    search = read_search("  Mu\N{COMBINING DIAERESIS}ller-Lüdenscheidt \t Karl ")
    assert search.text == "müller-lüdenscheidt karl"
    assert search.composed_words == ["müller", "lüdenscheidt", "karl"]
    assert search.decomposed_words[0] == "mu\N{COMBINING DIAERESIS}ller"


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("0197A2B0-1111-7000-8000-00000000000A", "0197a2b0-1111-7000-8000-00000000000a"),
        ("00000a", "00000a"),
        ("0000a", ""),
        ("anna", ""),
    ],
)
def test_six_characters_may_be_the_end_of_a_purchase(text, end):
    assert read_search(text).purchase_end == end
