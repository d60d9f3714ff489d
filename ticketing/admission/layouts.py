"""Keyboard layouts: the text that a scanner meant, from the text that a computer with another layout typed.

A scanner presses the keys of a US keyboard. A computer that is set to another layout reads other characters. Tokens
consist of A to Z and 2 to 7 after a "T1"; codes consist of 0 to 9, A to F, T, K and a dash. Layouts that type all of
these keys as a US keyboard does, such as the British or the Spanish one, need no translation.
"""

from collections.abc import Iterator, Mapping
from typing import Final

# The keys of tokens and codes, row by row; each layout below has the character that it types without the Shift key.
_KEYS: Final = "1234567890-" + "QWERTYUIOP" + "ASDFGHJKL" + "ZXCVBNM"
_LAYOUTS: Final[Mapping[str, str]] = {
    "German": "1234567890ß" + "qwertzuiop" + "asdfghjkl" + "yxcvbnm",
    "Swiss, Slovenian, Croatian": "1234567890'" + "qwertzuiop" + "asdfghjkl" + "yxcvbnm",
    "Hungarian": "123456789öü" + "qwertzuiop" + "asdfghjkl" + "yxcvbnm",
    "Czech": "+ěščřžýáíé=" + "qwertzuiop" + "asdfghjkl" + "yxcvbnm",
    "Slovak": "+ľščťžýáíé=" + "qwertzuiop" + "asdfghjkl" + "yxcvbnm",
    "French": "&é\"'(-è_çà)" + "azertyuiop" + "qsdfghjkl" + "wxcvbn,",
    "Belgian": "&é\"'(§è!çà)" + "azertyuiop" + "qsdfghjkl" + "wxcvbn,",
    "Lithuanian": "ąčęėįšųū„“-" + "qwertyuiop" + "asdfghjkl" + "zxcvbnm",
    "Turkish": "1234567890*" + "qwertyu\N{LATIN SMALL LETTER DOTLESS I}op" + "asdfghjkl" + "zxcvbnm",
    "Russian": "1234567890-" + "йцукенгшщз" + "фывапролд" + "ячсмить",
    "Ukrainian": "1234567890-" + "йцукенгшщз" + "фівапролд" + "ячсмить",
}
# The French and Belgian key for M types a question mark with the Shift key.
_SHIFTED: Final = {",": "?"}


def _translation(typed: str) -> dict[int, str]:
    """Return the key of each character that a layout types, with and without the Shift key."""
    table = dict[int, str]()
    for key, character in zip(_KEYS, typed, strict=True):
        for variant in (character, character.upper(), _SHIFTED.get(character, character)):
            if len(variant) == 1:
                table[ord(variant)] = key
    return table


_TRANSLATIONS: Final = [_translation(typed) for typed in _LAYOUTS.values()]


def translations(text: str) -> Iterator[str]:
    """Yield the text, and then the text that each layout makes of it, without repetitions."""
    seen = {text}
    yield text
    for table in _TRANSLATIONS:
        translated = text.translate(table)
        if translated not in seen:
            seen.add(translated)
            yield translated
