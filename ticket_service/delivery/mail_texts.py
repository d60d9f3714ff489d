"""Read the texts of mails: one file for each language, and two templates that all languages share.

A file in the operator's folder replaces the built-in file of the same name; another TOML file adds a language. The name
of a file is the tag of its language, such as `pt-BR.toml`. Labels that a file leaves out are those of tickets.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, select_autoescape

from ticket_service.adapters.words import words_of
from ticketing.chassis.settings import SettingsError

BUILT_IN: Final = Path(__file__).parent / "mail_templates"


class MailTexts:
    """The texts of one language.

    Args:
        language: the tag of the language.
        read: the content of its file.
        templates: the templates that all languages share.
    """

    def __init__(self, language: str, read: Mapping[str, Any], templates: Environment) -> None:
        self.language = language
        shared = words_of(language)
        # The templates of operators read these names.
        self.words: Mapping[str, Mapping[str, str]] = {
            "labels": {**shared.labels, **read.get("labels", {})},
            "ticket_types": {**shared.ticket_types, **read.get("ticket_types", {})},
        }
        self.mails: Mapping[str, Mapping[str, str]] = read["mails"]
        self._templates = templates

    def fill(self, text: str, part: str, facts: Mapping[str, object]) -> str:
        """Render a part of a text, such as the subject of a mail."""
        source = self.mails[text][part]
        # The result is not escaped: the plain part needs plain text, and the HTML template escapes it.
        return self._templates.from_string(source).render(facts).strip()

    def render(self, template: str, facts: Mapping[str, object]) -> str:
        """Render one of the shared templates."""
        return self._templates.get_template(template).render({**facts, "words": self.words})


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
        return {
            language: MailTexts(language, tomllib.loads(path.read_text("utf-8")), templates)
            for language, path in files.items()
        }
    except (OSError, TemplateError, tomllib.TOMLDecodeError, KeyError) as error:
        raise SettingsError(f"a template of mails cannot be used: {error}") from error
