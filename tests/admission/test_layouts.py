"""Tests of keyboard layouts."""

import string

import pytest

from tests.scanning.keyboards import KEYBOARDS, typed_on
from ticketing.admission.layouts import translations

CHARACTERS = f"T1{string.ascii_uppercase}234567 TKT-0123456789ABCDEF"


@pytest.mark.parametrize("keyboard", KEYBOARDS)
@pytest.mark.parametrize("is_lower", [False, True], ids=["Shift", "no Shift"])
def test_the_text_is_among_the_translations_of_each_layout(keyboard, is_lower):
    typed = typed_on(keyboard, CHARACTERS.lower() if is_lower else CHARACTERS)
    assert typed != CHARACTERS
    assert CHARACTERS in [translated.upper() for translated in translations(typed)]


def test_the_text_itself_comes_first():
    assert next(translations("T1YZ")) == "T1YZ"


def test_no_translation_is_repeated():
    found = list(translations("B2CD"))
    assert len(found) == len(set(found))
