from datetime import UTC, datetime
from pathlib import Path

import pytest

from ticket_service.adapters.formats import Formats
from ticket_service.adapters.words import LANGUAGES
from ticket_service.delivery.emails import MAILED
from ticket_service.delivery.mail_texts import BUILT_IN, read_texts
from ticket_service.domain.notifications import Kind


@pytest.mark.parametrize("language", sorted(read_texts(None)))
def test_every_language_has_every_text(language):
    texts = read_texts(None)[language]
    # A corrected address gets the mail of its purchase or transfer again.
    wanted = {*MAILED, f"{Kind.TICKET_TRANSFERRED}.away"} - {Kind.EMAIL_CORRECTED}
    assert texts.mails.keys() == wanted
    facts = {"event": "Concert", "amount": "1 EUR", "reason": "storm", "full_refund_until": "", "keeps_date": False}
    assert all(texts.fill(text, part, facts) for text in wanted for part in ("subject", "lead"))


@pytest.mark.parametrize(
    ("language", "refunded"), [("en", "the full price is refunded"), ("de", "der volle Preis wird")]
)
def test_every_language_says_that_a_move_gives_a_full_refund(language, refunded):
    texts = read_texts(None)[language]
    until = Formats(language).moment(datetime(2027, 3, 27, 23, 30, tzinfo=UTC), "Europe/Berlin")
    lead = texts.fill(Kind.EVENT_CHANGED, "lead", {"event": "Concert", "full_refund_until": until})
    assert until in lead
    assert refunded in lead
    assert refunded not in texts.fill(
        Kind.EVENT_CHANGED, "lead", {"event": "Concert", "full_refund_until": "", "keeps_date": False}
    )


def test_an_operator_replaces_a_text_and_adds_a_language(tmp_path: Path):
    (tmp_path / "mail.txt").write_text("{{ subject }} from us")
    (tmp_path / "eo.toml").write_text(
        (BUILT_IN / "en.toml").read_text().replace("Your tickets for", "Viaj biletoj por")
    )
    texts = read_texts(tmp_path)
    assert texts.keys() == {*LANGUAGES, "eo"}
    assert texts["de"].render("mail.txt", {"subject": "Hallo"}) == "Hallo from us"
    assert texts["eo"].fill("purchase.completed", "subject", {"event": "X"}) == "Viaj biletoj por X"


def test_a_text_without_labels_has_those_of_tickets(tmp_path: Path):
    mails = (BUILT_IN / "de.toml").read_text()
    (tmp_path / "de.toml").write_text(f'[labels]\nwhen = "Beginn"\n{mails}')
    words = read_texts(tmp_path)["de"].words
    assert (words["labels"]["when"], words["labels"]["where"]) == ("Beginn", "Wo")
    assert words["ticket_types"]["EARLY_BIRD"] == "Frühbucher"
