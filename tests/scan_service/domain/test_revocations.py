"""Tests of revocations: a gate or the revocation was first, and what a revoked ticket keeps."""

import uuid
from dataclasses import replace

import pytest

from scan_service.domain.revocations import Revocation, RevocationOutcome, apply_revocation, decide_outcome
from tests.scanning.cases import INSIDE, TICKET
from tests.scanning.gates import CODES
from ticketing.admission.tickets import TicketStatus

CANCEL = Revocation(uuid.UUID(int=9), TICKET.ticket_id, TicketStatus.CANCELLED, 2, even_if_checked_in=False)
REISSUE = replace(CANCEL, status=TicketStatus.ACTIVE, issue=3)
INSIDE_TICKET = replace(TICKET, admission=INSIDE, token_digest=b"t" * 16)


def test_a_check_in_before_the_revocation_wins():
    won = RevocationOutcome(TICKET.ticket_id, INSIDE.check_in_time)
    assert decide_outcome(INSIDE_TICKET, CANCEL) == won
    assert decide_outcome(TICKET, CANCEL) == RevocationOutcome(TICKET.ticket_id, None)
    lost = decide_outcome(INSIDE_TICKET, replace(CANCEL, even_if_checked_in=True))
    assert lost == RevocationOutcome(TICKET.ticket_id, None)


@pytest.mark.parametrize("status", [TicketStatus.ACTIVE, TicketStatus.BLOCKED])
def test_a_cancelled_ticket_is_final(status):
    ticket = replace(INSIDE_TICKET, status=status)
    assert apply_revocation(ticket, CANCEL, CODES) == replace(ticket, status=TicketStatus.CANCELLED)


def test_a_final_status_stays_the_first_one():
    refunded = replace(INSIDE_TICKET, status=TicketStatus.REFUNDED)
    for revocation in (CANCEL, replace(CANCEL, status=TicketStatus.ACTIVE)):
        assert apply_revocation(refunded, revocation, CODES) == refunded


def test_a_new_issue_takes_code_and_token_from_the_older_one():
    revoked = apply_revocation(INSIDE_TICKET, REISSUE, CODES)
    digest = CODES.digest(CODES.code(TICKET.ticket_id, 3))
    assert revoked == replace(INSIDE_TICKET, issue=3, code_digest=digest, token_digest=None)


@pytest.mark.parametrize("issue", [1, 2])
def test_the_present_or_an_older_issue_changes_no_code(issue):
    assert apply_revocation(INSIDE_TICKET, replace(REISSUE, issue=issue), CODES) == INSIDE_TICKET
