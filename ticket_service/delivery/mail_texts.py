"""Read the texts of mails: one file for each language, and two templates that all languages share.

A file in the operator's folder replaces the built-in file of the same name; another TOML file adds a language.
"""

import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from ticket_service.domain.currencies import decimals
from ticket_service.domain.zones import zone_of
from ticketing.chassis.settings import SettingsError

BUILT_IN: Final = Path(__file__).parent / "mail_templates"


class MailTexts:
    """The texts of one language: `words` from its file, and the `templates` that all languages share."""

    def __init__(self, words: Mapping[str, Any], templates: Environment) -> None:
        self.words = words
        self._templates = templates

    def fill(self, text: str, part: str, facts: Mapping[str, object]) -> str:
        """Render a part of a text, such as the subject of a mail."""
        source: str = self.words["mails"][text][part]
        # The result is not escaped: the plain part needs plain text, and the HTML template escapes it.
        return self._templates.from_string(source).render(facts).strip()

    def render(self, template: str, facts: Mapping[str, object]) -> str:
        """Render one of the shared templates."""
        return self._templates.get_template(template).render({**facts, "words": self.words})

    def day_and_hour(self, starts: datetime, ends: datetime, zone_name: str) -> str:
        """Format a period in the local time of the event."""
        zone = zone_of(zone_name, starts, ends)
        starts, ends = starts.astimezone(zone), ends.astimezone(zone)
        until = f"{ends:%H:%M}" if ends.date() == starts.date() else f"{self._day(ends)}, {ends:%H:%M}"
        return f"{self._day(starts)}, {starts:%H:%M} – {until} ({zone})"  # noqa: RUF001 - a dash between times

    def moment(self, time: datetime, zone_name: str) -> str:
        """Format a time in the local time of the event."""
        zone = zone_of(zone_name, time)
        local = time.astimezone(zone)
        return f"{self._day(local)}, {local:%H:%M} ({zone})"

    def amount(self, currency: str, minor_units: int) -> str:
        """Format an amount of money."""
        digits = decimals(currency)
        formatted = f"{minor_units / 10**digits:,.{digits}f}"
        marks = str.maketrans({",": self.words["thousands"], ".": self.words["decimal"]})
        return f"{formatted.translate(marks)} {currency}"

    def _day(self, time: datetime) -> str:
        day: str = self.words["date"].format(
            weekday=self.words["weekdays"][time.weekday()],
            day=time.day,
            month=self.words["months"][time.month - 1],
            year=time.year,
        )
        return day


def read_texts(own: Path | None) -> dict[str, MailTexts]:
    """Read the texts of every language; a file in `own` replaces the built-in file of the same name.

    Raises:
        SettingsError: a file cannot be used.
    """
    folders = [BUILT_IN] if own is None else [own, BUILT_IN]
    # Strings are not escaped here: the HTML template would escape them a second time.
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
