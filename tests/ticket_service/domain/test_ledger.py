"""Tests of the entries that a change of a charge makes."""

from dataclasses import replace

import pytest

from tests.selling.rows import NOW
from tests.ticket_service.domain.test_holds import HELD
from ticket_service.domain.ledger import EntryKind, charge_entries
from ticket_service.domain.purchases import PurchaseStatus

UNCHARGED = replace(HELD, payment_id=None)
DECLINED = replace(HELD, status=PurchaseStatus.DECLINED, complete_time=NOW, decline_code="card_declined")
RELEASED = replace(HELD, status=PurchaseStatus.RELEASED, complete_time=NOW)


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (UNCHARGED, UNCHARGED, []),
        (UNCHARGED, HELD, [EntryKind.CHARGE_TRIED]),
        (HELD, HELD, []),
        (HELD, DECLINED, [EntryKind.DECLINED]),
        (UNCHARGED, DECLINED, [EntryKind.CHARGE_TRIED, EntryKind.DECLINED]),
        (HELD, RELEASED, [EntryKind.WITHDRAWN]),
        # Nothing was withdrawn of a purchase that never had a charge.
        (UNCHARGED, replace(RELEASED, payment_id=None), []),
    ],
)
def test_a_change_of_a_charge_is_entered_with_its_amount(before, after, kinds):
    entries = charge_entries(before, after)
    assert [entry.kind for entry in entries] == kinds
    assert {(entry.amount, entry.currency, entry.payment_id) for entry in entries} <= {(2_500, "EUR", "pi_1")}
    assert {entry.note for entry in entries} <= {after.decline_code or ""}
