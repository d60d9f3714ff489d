"""Tests of typed codes."""

import uuid

import pytest

from tests.environment.access import CODE_SECRET
from ticket_service.domain.codes import Codes as TicketServiceCodes
from ticketing.admission.codes import Codes, read_code


def test_both_services_derive_the_same_codes_and_digests():
    ours, theirs = Codes(CODE_SECRET), TicketServiceCodes(CODE_SECRET)
    for issue in (1, 2, 2**31 - 1):
        ticket_id = uuid.uuid4()
        code = ours.code(ticket_id, issue)
        assert code == theirs.code(ticket_id, issue)
        assert ours.digest(code) == theirs.digest(code)


@pytest.mark.parametrize("text", ["TKT-0123456789ABCDEF", " tkt-0123456789abcdef\n"])
def test_a_code_is_read_in_either_case_and_between_blanks(text):
    assert read_code(text) == "TKT-0123456789ABCDEF"


@pytest.mark.parametrize("text", ["", "TKT-", "TKT-0123456789ABCDEG", "TKT-0123456789ABCDEF0", "TKT-0123 456789ABCDE"])
def test_other_texts_are_not_codes(text):
    assert read_code(text) is None
