"""The currencies of ISO 4217 that people pay with, and their minor units.

Source: List One of the maintenance agency, as published on 2026-01-01. The table leaves out funds, units of account,
precious metals, and the codes for tests and for "no currency": BOV CHE CHW CLF COU MXV USN UYI UYW XAD XAG XAU XBA XBB
XBC XBD XDR XPD XPT XSU XTS XUA XXX.
"""

from collections.abc import Mapping
from typing import Final

_CODES_BY_DIGITS: Final[Mapping[int, str]] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
        CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
        KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
        NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
        TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
# Each code with the number of decimals of its minor unit.
CURRENCIES: Final[Mapping[str, int]] = {
    code: digits for digits, codes in _CODES_BY_DIGITS.items() for code in codes.split()
}
# Events from before the table may have another code.
_USUAL_DIGITS: Final = 2


def decimals(currency: str) -> int:
    """Return the number of decimals of an amount in the currency."""
    return CURRENCIES.get(currency, _USUAL_DIGITS)
