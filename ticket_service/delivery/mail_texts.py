"""The words of mails: a file of them for each language, and two templates that all languages share.

An operator replaces any of them by one of the same name in a folder of their own, and adds a language by adding a file.
"""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from ticket_service.adapters.calendar import zone_of
from ticketing.chassis.settings import SettingsError

OURS: Final = Path(__file__).parent / "mail_templates"
# Currencies whose minor unit is not a hundredth (ISO 4217).
NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"


class MailTexts:
    """The words of one language.

    Args:
        words: as they stand in its file.
        templates: of all languages.
    """

    def __init__(self, words: Mapping[str, Any], templates: Environment) -> None:
        self.words = words
        self._templates = templates

    def fill(self, text: str, part: str, facts: Mapping[str, object]) -> str:
        """Return a text of a mail, such as its subject, with the facts in it."""
        source: str = self.words["mails"][text][part]
        # It goes into the plain part as it is; the HTML template escapes it.
        return self._templates.from_string(source).render(facts).strip()

    def render(self, template: str, facts: Mapping[str, object]) -> str:
        """Return a part of a mail."""
        return self._templates.get_template(template).render({**facts, "words": self.words})

    def day_and_hour(self, starts: datetime, ends: datetime, zone_name: str) -> str:
        """Say the hours as a clock on the event's wall shows them."""
        zone = zone_of(zone_name, starts, ends)
        starts, ends = starts.astimezone(zone), ends.astimezone(zone)
        until = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{self._day(ends)}, {ends:%H:%M}"
        return f"{self._day(starts)}, {starts:%H:%M} – {until} ({zone})"  # noqa: RUF001 - a dash between times

    def amount(self, currency: str, minor_units: int) -> str:
        """Spell an amount of money."""
        decimals = 0 if currency in NO_DECIMALS.split() else 3 if currency in THREE_DECIMALS.split() else 2
        spelled = f"{minor_units / 10**decimals:,.{decimals}f}"
        marks = str.maketrans({",": self.words["thousands"], ".": self.words["decimal"]})
        return f"{spelled.translate(marks)} {currency}"

    def _day(self, time: datetime) -> str:
        day: str = self.words["date"].format(
            weekday=self.words["weekdays"][time.weekday()],
            day=time.day,
            month=self.words["months"][time.month - 1],
            year=time.year,
        )
        return day


def read_texts(own: Path | None) -> dict[str, MailTexts]:
    """Read the words of every language; a file in `own` goes before ours of the same name.

    Raises:
        SettingsError: one of them cannot be used.
    """
    folders = [OURS] if own is None else [own, OURS]
    # Where autoescape is on for a string too, words would be escaped twice.
    templates = Environment(
        loader=FileSystemLoader(folders),
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        for name in ("mail.txt", "mail.html"):
            templates.get_template(name)
        files = {path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("*.toml"))}
        return {language: MailTexts(tomllib.loads(path.read_text()), templates) for language, path in files.items()}
    except (OSError, TemplateError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"a template of mails cannot be used: {error}") from error
