"""Tests of typed codes."""

import uuid

import pytest

from tests.environment.access import CODE_SECRET
from ticket_service.domain.codes import Codes as TicketServiceCodes
from ticketing.admission.codes import Codes, find_codes, mask_code, read_code


def test_both_services_derive_the_same_codes_and_digests():
    ours, theirs = Codes(CODE_SECRET), TicketServiceCodes(CODE_SECRET)
    for issue in (1, 2, 2**31 - 1):
        ticket_id = uuid.uuid4()
        code = ours.code(ticket_id, issue)
        assert code == theirs.code(ticket_id, issue)
        assert ours.digest(code) == theirs.digest(code)


@pytest.mark.parametrize(
    "text",
    [
        "TKT-0123456789ABCDEF",
        " tkt-0123456789abcdef\n",
        "TKT 0123 4567 89AB CDEF",
        "TKT-0123-4567-89AB-CDEF",
        "TKT-0123\N{EN DASH}4567\N{EM DASH}89AB\N{MINUS SIGN}CDEF",
        "TKT0123456789ABCDEF",
        "0123456789abcdef",
        "0123 4567 89ab cdef",
        "TKT-O123456789ABCDEF",
        "TKT-ol23456789abcdef",
        "TKT-0I23456789ABCDEF",
        "TKT-0123456789ABCDEF.",
        "TKT-0123456789ABCDEF\x1d",
        "TKT-0123\N{NO-BREAK SPACE}4567\N{ZERO WIDTH SPACE}89AB\N{SOFT HYPHEN}CDEF",
        "TKT-0123\t4567\N{LINE SEPARATOR}89AB\N{PARAGRAPH SEPARATOR}CDEF",
        "TKT-0123\N{OGHAM SPACE MARK}456789ABCDEF",
        "]C1TKT-0123456789ABCDEF",
        "]C10123456789ABCDEF",
        "https://tickets.example/t?c=TKT-0123456789ABCDEF&lang=de#x",
        "https://tickets.example/t?c=0123456789abcdef;lang=de",
        "TKT-0123456789ABCDEF Sam Smith",
        "\uff34\uff2b\uff34\uff0d\uff10123456789ABCDEF",
    ],
)
def test_a_code_is_read_as_people_and_scanners_type_it(text):
    assert read_code(text) == "TKT-0123456789ABCDEF"


def test_two_codes_without_a_line_end_between_them_are_both_found():
    assert find_codes("TKT-0123456789ABCDEFTKT-FEDCBA9876543210") == ["TKT-0123456789ABCDEF", "TKT-FEDCBA9876543210"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TKT-",
        "TKT-0123456789ABCDEG",
        "TKT-0123456789ABCDEF0",
        "TKT-0123 456789ABCDE",
        "4006381333931",
        "550e8400-e29b-41d4-a716-446655440000",
        "0123456789ABCDEF0123456789ABCDEF",
    ],
)
def test_other_texts_are_not_codes(text):
    assert read_code(text) is None


def test_a_code_is_sought_in_the_first_512_characters():
    code = "TKT-0123456789ABCDEF"
    assert find_codes("." * (512 - len(code)) + code) == [code]
    assert find_codes("." * (513 - len(code)) + code) == []


def test_a_masked_code_shows_six_digits_and_other_texts_stay():
    assert mask_code("TKT-0123456789ABCDEF") == "TKT-012345…"
    assert mask_code("no code at all") == "no code at all"
