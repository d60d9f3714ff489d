"""The words of one language that tickets, calendar entries, wallet passes and mails share, and its formats.

The words of each language stand in `words/<tag>.toml`. The default language is that of TICKETS_MAIL_LANGUAGE.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from ticket_service.adapters.formats import Formats
from ticket_service.domain.languages import look_up

_FOLDER: Final = Path(__file__).with_suffix("")
LANGUAGES: Final = tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))
FALLBACK: Final = "en"


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language."""

    # The tag of the words, one of LANGUAGES.
    language: str
    formats: Formats
    # The words before values, by the names in the files, such as `when`.
    labels: Mapping[str, str]
    ticket_types: Mapping[str, str]
    # The sentence about the admission, by admission policy.
    admission: Mapping[str, str]


@cache
def words_of(wanted: str, default: str = FALLBACK) -> Words:
    """Return the words of the language that is closest to a tag.

    Args:
        wanted: a normalised BCP 47 tag, or "". A region selects its formats: `de-AT` has the words of `de`.
        default: the language of an unknown tag.
    """
    language = look_up(wanted, LANGUAGES, look_up(default, LANGUAGES, FALLBACK))
    read = tomllib.loads((_FOLDER / f"{language}.toml").read_text("utf-8"))
    formats = Formats(tag_of_formats(wanted, language))
    return Words(language, formats, read["labels"], read["ticket_types"], read["admission"])


def known_language(wanted: str, default: str) -> str:
    """Return a tag whose closest language has words: `wanted`, or else `default`."""
    return wanted if look_up(wanted, LANGUAGES, "") else default


def tag_of_formats(wanted: str, language: str) -> str:
    """Return `wanted` if its texts are those of `language`, otherwise `language`: words and dates have one language."""
    return wanted if look_up(wanted, (language,), "") == language else language
