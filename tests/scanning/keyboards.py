"""The characters that computers of several countries read from a scanner that presses the keys of a US keyboard.

The tables were read from the layouts of xkeyboard-config, apart from the code under test.
"""

from typing import Final

_US: Final = "1234567890-qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM"
KEYBOARDS: Final = {
    "de": "1234567890ßqwertzuiopasdfghjklyxcvbnmQWERTZUIOPASDFGHJKLYXCVBNM",
    "ch": "1234567890'qwertzuiopasdfghjklyxcvbnmQWERTZUIOPASDFGHJKLYXCVBNM",
    "hu": "123456789öüqwertzuiopasdfghjklyxcvbnmQWERTZUIOPASDFGHJKLYXCVBNM",
    "cz": "+ěščřžýáíé=qwertzuiopasdfghjklyxcvbnmQWERTZUIOPASDFGHJKLYXCVBNM",
    "sk": "+ľščťžýáíé=qwertzuiopasdfghjklyxcvbnmQWERTZUIOPASDFGHJKLYXCVBNM",
    "fr": "&é\"'(-è_çà)azertyuiopqsdfghjklwxcvbn,AZERTYUIOPQSDFGHJKLWXCVBN?",
    "be": "&é\"'(§è!çà)azertyuiopqsdfghjklwxcvbn,AZERTYUIOPQSDFGHJKLWXCVBN?",
    "lt": "ąčęėįšųū„“-qwertyuiopasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM",
    "tr": "1234567890*qwertyu\N{LATIN SMALL LETTER DOTLESS I}opasdfghjklzxcvbnmQWERTYUIOPASDFGHJKLZXCVBNM",
    "ru": "1234567890-йцукенгшщзфывапролдячсмитьЙЦУКЕНГШЩЗФЫВАПРОЛДЯЧСМИТЬ",
    "ua": "1234567890-йцукенгшщзфівапролдячсмитьЙЦУКЕНГШЩЗФІВАПРОЛДЯЧСМИТЬ",
}


def typed_on(keyboard: str, text: str) -> str:
    """Return what a computer with this keyboard reads when a scanner types a text."""
    return text.translate(str.maketrans(_US, KEYBOARDS[keyboard]))
