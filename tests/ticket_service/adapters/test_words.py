import pytest

from ticket_service.adapters.words import FALLBACK, LANGUAGES, known_language, words_of
from ticket_service.domain.events import TicketType


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_word(language):
    words, english = words_of(language), words_of(FALLBACK)
    assert words.language == language
    assert words.labels.keys() == english.labels.keys()
    assert words.ticket_types.keys() == set(TicketType)
    assert all([*words.labels.values(), *words.ticket_types.values()])


def test_a_region_selects_formats_and_an_unknown_language_the_default():
    austrian, unknown = words_of("de-AT"), words_of("tlh", "fr-CA")
    assert (austrian.language, str(austrian.formats.locale)) == ("de", "de_AT")
    # Words and dates are in the same language.
    assert (unknown.language, str(unknown.formats.locale)) == ("fr", "fr")
    assert words_of("", "tlh").language == FALLBACK
    assert [known_language(wanted, "fr") for wanted in ("de-AT", "tlh", "")] == ["de-AT", "fr", "fr"]
