from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ticket_service.delivery.emails import MAILED
from ticket_service.delivery.mail_texts import BUILT_IN, read_texts
from ticket_service.domain.notifications import Kind


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_language_has_every_text(language):
    texts = read_texts(None)[language]
    # A corrected address gets the mail of its purchase or transfer again.
    wanted = {*MAILED, f"{Kind.TICKET_TRANSFERRED}.away"} - {Kind.EMAIL_CORRECTED}
    assert texts.words["mails"].keys() == wanted
    facts = {"event": "Concert", "amount": "1 EUR", "reason": "storm", "full_refund_until": ""}
    assert all(texts.fill(text, part, facts) for text in wanted for part in ("subject", "lead"))


@pytest.mark.parametrize(
    ("language", "refunded"), [("en", "the full price is refunded"), ("de", "der volle Preis wird")]
)
def test_every_language_says_that_a_move_gives_a_full_refund(language, refunded):
    texts = read_texts(None)[language]
    until = texts.moment(datetime(2027, 3, 27, 23, 30, tzinfo=UTC), "Europe/Berlin")
    assert until.endswith("2027, 00:30 (Europe/Berlin)")
    lead = texts.fill(Kind.EVENT_CHANGED, "lead", {"event": "Concert", "full_refund_until": until})
    assert until in lead
    assert refunded in lead
    assert refunded not in texts.fill(Kind.EVENT_CHANGED, "lead", {"event": "Concert", "full_refund_until": ""})


def test_an_operator_replaces_a_text_and_adds_a_language(tmp_path: Path):
    (tmp_path / "mail.txt").write_text("{{ subject }} from us")
    (tmp_path / "eo.toml").write_text(
        (BUILT_IN / "en.toml").read_text().replace("Your tickets for", "Viaj biletoj por")
    )
    texts = read_texts(tmp_path)
    assert texts.keys() == {"de", "en", "eo"}
    assert texts["de"].render("mail.txt", {"subject": "Hallo"}) == "Hallo from us"
    assert texts["eo"].fill("purchase.completed", "subject", {"event": "X"}) == "Viaj biletoj por X"


@pytest.mark.parametrize(
    ("language", "currency", "minor_units", "spelled"),
    [
        ("en", "EUR", 123_450, "1,234.50 EUR"),
        ("de", "EUR", 123_450, "1.234,50 EUR"),
        ("en", "JPY", 1_234, "1,234 JPY"),
        ("en", "KWD", 1_234, "1.234 KWD"),
    ],
)
def test_amounts_follow_language_and_currency(language, currency, minor_units, spelled):
    assert read_texts(None)[language].amount(currency, minor_units) == spelled


def test_hours_are_in_the_zone_of_the_event_also_over_midnight():
    starts = datetime(2027, 3, 27, 22, 0, tzinfo=UTC)
    texts = read_texts(None)["de"]
    told = texts.day_and_hour(starts, starts + timedelta(hours=4), "Europe/Berlin")
    assert told.startswith("Samstag, 27. März 2027, 23:00")
    assert told.endswith("Sonntag, 28. März 2027, 04:00 (Europe/Berlin)")
