import pytest

from ticket_service.domain.languages import look_up, normalised, wanted_language

TEXTS = ("de", "en", "fr", "he", "pt", "zh", "zh-Hant")


@pytest.mark.parametrize(
    ("tag", "usual"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-DE", "de-DE"),
        ("de_AT", "de-AT"),
        ("zh-hANT-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("sl-rozaj-biske", "sl-rozaj-biske"),
        ("de-CH-1996", "de-CH-1996"),
        ("de-DE-u-co-phonebk", "de-DE-u-co-phonebk"),
        ("en-x-mine", "en-x-mine"),
        ("iw-IL", "he-IL"),
        ("in_ID", "id-ID"),
    ],
)
def test_tags_are_stored_in_their_usual_case(tag, usual):
    assert normalised(tag) == usual
    assert normalised(usual) == usual


@pytest.mark.parametrize(
    "tag",
    ["", "x-mine", "i-klingon", "german", "Deutsch", "de_DE.UTF-8", "de-DE,de;q=0.9", "de ", "d", "de-", "de--DE", "dé",
     "de-DE-x", "de\n", "*", "de-*", "de-" + "-".join(["abcde"] * 6)],
)  # fmt: skip
def test_other_text_is_no_tag(tag):
    assert normalised(tag) is None


def test_a_tag_has_at_most_35_characters():
    longest = "de-abcdefgh-abcdefgh-abcdefgh-abcde"
    assert (len(longest), normalised(longest)) == (35, longest)
    assert normalised(f"{longest}f") is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("de", "de"),
        ("de-DE", "de"),
        ("de-AT-1996", "de"),
        ("en-x-de", "en"),
        ("fr-u-co-phonebk", "fr"),
        ("pt-BR", "pt"),
        ("zh-CN", "zh"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-MO", "zh-Hant"),
        ("zh-Hans-HK", "zh"),
        ("gsw", "en"),
        ("d", "en"),
        ("", "en"),
    ],
)
def test_the_closest_language_with_texts_is_found(wanted, found):
    assert look_up(wanted, TEXTS, "en") == found


def test_a_purchase_without_the_field_has_the_language_of_its_metadata():
    assert wanted_language("", {"language": "DE_at"}) == "de-AT"
    assert wanted_language("fr", {"language": "de"}) == "fr"
    assert [wanted_language("", {"language": value}) for value in ("x-y", 7, None, ["de"])] == [""] * 4
    assert wanted_language("", {}) == ""
