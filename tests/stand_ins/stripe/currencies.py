"""Which amounts Stripe charges and refunds, from its page "Supported currencies" and its own error message.

The table is written from the sources, not from the table of the service: the tests compare the two.
"""

from typing import Final

from tests.stand_ins.stripe.refusals import malformed

# As Stripe's error lists them: "Stripe currently supports these currencies".
_SUPPORTED: Final = """
    usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf
    clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl htg huf idr ils
    inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn
    myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos
    srd std svc szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
"""
# "You can't charge fractions": counted in hundredths, always 00.
_ALWAYS_00: Final = ("isk", "ugx")
# The page requires that the least significant digit is 0.
_LAST_DIGIT_0: Final = ("bhd", "jod", "kwd", "omr", "tnd")
# In Stripe's units. The smallest amount depends on the currency in which the account is paid out; this account is paid
# out in the currency of each charge.
_SMALLEST: Final = {
    "usd": 50,
    "aed": 200,
    "ars": 50,
    "aud": 50,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "cop": 50,
    "czk": 15_00,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 175_00,
    "idr": 50,
    "ils": 50,
    "inr": 50,
    "jpy": 50,
    "krw": 50,
    "mxn": 10_00,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "php": 50,
    "pln": 200,
    "ron": 200,
    "rub": 50,
    "sek": 300,
    "sgd": 50,
    "thb": 10_00,
    "zar": 50,
}
_LARGEST: Final = 999_999_999_999


def minor_units(currency: str, amount: int) -> int:
    """Return an amount of Stripe in the minor units of ISO 4217."""
    return amount // 100 if currency.lower() in _ALWAYS_00 else amount


def check_charge(currency: str, amount: int) -> None:
    """Refuse an amount that Stripe charges no card with."""
    _check_unit(currency, amount)
    smallest = _SMALLEST.get(currency, 1)
    if amount < smallest:
        raise malformed(f"Amount must be at least {smallest} {currency}", code="amount_too_small", param="amount")
    if amount > _LARGEST:
        raise malformed(f"Amount must be no more than {_LARGEST}", code="amount_too_large", param="amount")


def check_refund(currency: str, amount: int) -> None:
    """Refuse an amount that Stripe does not refund."""
    _check_unit(currency, amount)
    if amount < 1:
        raise malformed("Invalid positive integer", code="parameter_invalid_integer", param="amount")


def _check_unit(currency: str, amount: int) -> None:
    if currency not in _SUPPORTED.split():
        raise malformed(
            f"Invalid currency: {currency}. Stripe currently supports these currencies: …", param="currency"
        )
    if currency in _ALWAYS_00 and amount % 100:
        raise malformed(f"Invalid amount: {currency} has no decimals, so it ends in 00", param="amount")
    if currency in _LAST_DIGIT_0 and amount % 10:
        raise malformed(f"Invalid amount: the last digit in {currency} must be 0", param="amount")
