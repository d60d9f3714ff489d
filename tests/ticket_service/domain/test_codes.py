import re

from ticket_service.domain.codes import DIGEST_BYTES, Codes
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
