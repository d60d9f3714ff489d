import re

from ticket_service.domain.codes import DIGEST_BYTES, Codes
from ticketing.chassis.ids import new_id

CODES = Codes("a-secret-of-thirty-two-characters")


def test_a_code_can_be_typed():
    assert re.fullmatch(r"TKT-[0-9A-F]{16}", CODES.code(new_id(), 1))


def test_a_code_follows_from_ticket_issue_and_secret():
    ticket_id = new_id()
    code = CODES.code(ticket_id, 1)
    assert CODES.code(ticket_id, 1) == code
    assert CODES.code(ticket_id, 2) != code
    assert CODES.code(new_id(), 1) != code
    assert Codes("another-secret-of-32-characters--").code(ticket_id, 1) != code


def test_what_databases_hold_of_a_code_needs_the_secret_too():
    digest = CODES.digest("TKT-0000000000000000")
    assert len(digest) == DIGEST_BYTES
    assert Codes("another-secret-of-32-characters--").digest("TKT-0000000000000000") != digest
