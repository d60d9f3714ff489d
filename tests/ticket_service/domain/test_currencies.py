import json
from pathlib import Path

import pytest

from ticket_service.domain.currencies import CURRENCIES, decimals

# A copy of ISO 4217 from another source than the table, if the machine has the package iso-codes.
ISO_CODES = Path("/usr/share/iso-codes/json/iso_4217.json")
NOT_MONEY = """
    BOV CHE CHW CLF COU MXV USN UYI UYW XAD XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX
""".split()  # noqa: SIM905 - a list of codes reads better in lines
# Withdrawn until 2026-01-01, and their successors.
WITHDRAWN = {"ANG", "BGN", "CUC", "HRK", "SLL", "ZWL"}
SUCCESSORS = {"SLE", "XCG", "ZWG"}


@pytest.mark.parametrize("code", [*NOT_MONEY, *sorted(WITHDRAWN), "XYZ", "BTC", "EEK", "eur", ""])
def test_codes_that_nobody_pays_with_are_no_currencies(code):
    assert code not in CURRENCIES


@pytest.mark.parametrize(
    ("code", "digits"), [("EUR", 2), ("JPY", 0), ("ISK", 0), ("MGA", 2), ("KWD", 3), ("IQD", 3), ("VES", 2)]
)
def test_minor_units_are_those_of_the_standard(code, digits):
    assert decimals(code) == digits


def test_an_amount_of_an_earlier_currency_has_two_decimals():
    assert decimals("BGN") == 2


def test_the_table_has_every_currency_of_the_standard_once():
    assert len(CURRENCIES) == 155
    assert all(len(code) == 3 and code.isupper() for code in CURRENCIES)


@pytest.mark.skipif(not ISO_CODES.exists(), reason="iso-codes is not installed")
def test_the_table_agrees_with_another_copy_of_the_standard():
    listed = {one["alpha_3"] for one in json.loads(ISO_CODES.read_text())["4217"]}
    assert set(CURRENCIES) - SUCCESSORS == listed - set(NOT_MONEY) - WITHDRAWN - SUCCESSORS
