import re

import pytest

from ticket_service.domain.codes import DIGEST_BYTES, Codes, read_code
from ticketing.chassis.ids import new_id

CODES = Codes("a-secret-of-thirty-two-characters")


def test_a_code_is_a_prefix_and_16_hex_digits():
    assert re.fullmatch(r"TKT-[0-9A-F]{16}", CODES.code(new_id(), 1))


def test_a_code_depends_on_ticket_issue_and_secret():
    ticket_id = new_id()
    code = CODES.code(ticket_id, 1)
    assert CODES.code(ticket_id, 1) == code
    assert CODES.code(ticket_id, 2) != code
    assert CODES.code(new_id(), 1) != code
    assert Codes("another-secret-of-32-characters--").code(ticket_id, 1) != code


def test_the_digest_of_a_code_depends_on_the_secret():
    digest = CODES.digest("TKT-0000000000000000")
    assert len(digest) == DIGEST_BYTES
    assert Codes("another-secret-of-32-characters--").digest("TKT-0000000000000000") != digest


@pytest.mark.parametrize(
    "text",
    [
        "TKT-0123456789ABCDEF",
        " tkt-0123456789abcdef ",
        "0123 4567-89ab cdef -",
        "T K-T 0123456789ABCDEF",
        "TKT?:0123456789ABCDEF",
        "TKT-O123456789ABCDEF",
        "TKT-ol23456789abcdef",
        "TKT-0I23456789ABCDEF",
        "TKT\N{EN DASH}0123\N{MINUS SIGN}4567\N{EM DASH}89AB\N{ZERO WIDTH SPACE}CDEF",
        "0123\t4567\N{LINE SEPARATOR}89AB\N{PARAGRAPH SEPARATOR}CDEF\N{OGHAM SPACE MARK}",
        "\uff34\uff2b\uff34\uff0d\uff10123456789ABCDEF",
    ],
)
def test_a_code_is_read_as_people_type_it(text):
    assert read_code(text) == "TKT-0123456789ABCDEF"


@pytest.mark.parametrize(
    "text", ["", "TKT-", "TKT-0123456789ABCDEG", "0123456789ABCDE", "TKT-0123456789ABCDEF0", "x 0123456789ABCDEF"]
)
def test_other_texts_are_no_code(text):
    assert read_code(text) is None
