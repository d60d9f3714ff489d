"""Draw tickets as a PDF: one page for each, on A4 or US Letter or for the screen of a phone.

Typst shapes and orders the letters of every script and takes each from the first font that has it; a character that no
font has becomes a box. The template is `page_template/ticket.typ`. The PDF is tagged and conforms to PDF/UA-1, unless a text has a character that no font has.
"""

import importlib.resources
import importlib.util
import json
import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import typst

from ticket_service.adapters.formats import Formats
from ticket_service.adapters.logos import logo_fault
from ticket_service.adapters.rendering import svg
from ticket_service.adapters.words import Words, words_of
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.page_design import PageDesign, design_of, ink_on
from ticket_service.domain.tickets import SoldTicket, ticket_hours
from ticket_service.domain.zones import zone_of

_logger: Final = logging.getLogger(__name__)

TEMPLATE: Final = Path(__file__).parent / "page_template"
# The packages with fonts, and the folder in each.
FONT_PACKAGES: Final = (("manimgx_fonts", "."), ("paperang_p2_fonts_cjk", "fonts"))
# The order of the fonts: the main one, then one for each script, then symbols, then Chinese, Japanese and Korean.
FIRST_FONT: Final = "Noto Sans"
LAST_FONTS: Final = ("Noto Sans Symbols", "Noto Emoji", "WenQuanYi Micro Hei")

# Lines break only between words. A longer word gets places to break within, unless its script needs none: Thai, Lao,
# Burmese, Khmer, Chinese, Japanese, Korean and pictographs.
_LONG_WORD: Final = re.compile(r"[^\s\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]{31,}")
_BREAK: Final = "\N{ZERO WIDTH SPACE}"
# Control characters, and marks that change the direction of the text around them.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_VIRAMA: Final = 9


def pdf(drawing: Drawing) -> bytes:
    """Draw a page for each ticket, in the language of the drawing."""
    design = design_of(drawing.tickets[0].sold.event.metadata, drawing.design)
    design = replace(design, paper=drawing.paper or design.paper)
    facts = json.dumps(_facts(drawing, design, words_of(drawing.language)))
    # Typst reads files below `root` only.
    root = TEMPLATE if design.logos is None else design.logos
    try:
        return _compile(facts, root, "ua-1")
    except typst.TypstError:
        # PDF/UA forbids a box in the place of a character that no font has.
        return _compile(facts, root, "1.7")


def _compile(facts: str, root: Path, standard: Literal["1.7", "ua-1"]) -> bytes:
    typesetter, template = compiler()
    content = typesetter.compile(template, root=root, format="pdf", sys_inputs={"facts": facts}, pdf_standards=standard)
    if not isinstance(content, bytes):
        raise TypeError("typst returned no PDF")
    return content


@lru_cache(maxsize=1)
def compiler() -> tuple[typst.Compiler, bytes]:
    """Return the typesetter with its fonts, and the template."""
    return typst.Compiler(font_paths=fonts(), ignore_system_fonts=True), (TEMPLATE / "ticket.typ").read_bytes()


@lru_cache(maxsize=1)
def fonts() -> typst.Fonts:
    """Find the fonts of the installed packages."""
    # A package that is not installed costs its letters, never the ticket.
    folders = [
        importlib.resources.files(package) / folder
        for package, folder in FONT_PACKAGES
        if importlib.util.find_spec(package) is not None
    ]
    return typst.Fonts(include_system_fonts=False, font_paths=[str(folder) for folder in folders])


@lru_cache(maxsize=1)
def font_order() -> list[str]:
    """Return the names of the fonts; each letter is drawn in the first one that has it."""
    found = [name for name in fonts().families() if name.startswith("Noto Sans")]
    scripts = sorted(name for name in found if name not in {FIRST_FONT, *LAST_FONTS})
    return [FIRST_FONT, *scripts, *LAST_FONTS]


def _facts(drawing: Drawing, design: PageDesign, words: Words) -> dict[str, object]:
    """Return the facts that the template prints."""
    is_rtl = words.formats.direction == "rtl"
    count = len(drawing.tickets)
    territory = words.formats.locale.territory or ""
    return {
        "title": _clean(drawing.tickets[0].sold.event.name) or words.labels["ticket"],
        "lang": words.formats.locale.language,
        # Typst takes countries, but no groups of countries such as 419.
        "region": territory if territory.isalpha() else None,
        "is_rtl": is_rtl,
        "fonts": font_order(),
        "paper": design.paper,
        "color": design.color,
        "ink": ink_on(design.color),
        "logo": _logo(design, words),
        "terms": _text(design.terms, is_rtl=is_rtl),
        "labels": words.labels,
        "tickets": [
            {**_ticket(ticket, words), "position": f"{number} / {count}" if count > 1 else ""}
            for number, ticket in enumerate(drawing.tickets, start=1)
        ],
    }


def _ticket(printed: PrintedTicket, words: Words) -> dict[str, object]:
    sold, secrets = printed.sold, printed.secrets
    ticket, event, formats = sold.ticket, sold.event, words.formats
    texts = {
        "name": event.name or words.labels["ticket"],
        "when": formats.period(*ticket_hours(sold), event.time_zone),
        "doors": _doors(sold, formats),
        "where": event.location or (words.labels["online"] if event.is_online else ""),
        "type": words.ticket_types[ticket.ticket_type],
        "holder": sold.holder_name or ticket.user_id,
        "price": formats.amount(event.currency, ticket.price) if ticket.price else "",
    }
    return {
        **{name: _text(text, is_rtl=formats.direction == "rtl") for name, text in texts.items()},
        "code": secrets.code,
        "qr_code": svg(secrets.token).decode(),
        "alt": words.labels["qr_code"].format(code=secrets.code),
        "admission": words.admission[event.admission_policy],
        "order": str(ticket.purchase_id),
    }


def _doors(sold: SoldTicket, formats: Formats) -> str:
    """Return when doors open, if that is before the start of the ticket; the day stands there if it is another one."""
    starts, _ = ticket_hours(sold)
    opens = sold.event.doors_open_time
    if opens is None or opens >= starts or starts != sold.event.start_time:
        return ""
    zone = zone_of(sold.event.time_zone, opens, starts)
    opens, starts = opens.astimezone(zone), starts.astimezone(zone)
    is_clear = opens.date() == starts.date() and opens.utcoffset() == starts.utcoffset()
    return formats.time(opens) if is_clear else formats.moment(opens, sold.event.time_zone)


def _logo(design: PageDesign, words: Words) -> dict[str, str] | None:
    if not design.logo:
        return None
    if (fault := logo_fault(design.logos, design.logo)) is not None:
        _logger.warning("a page has no logo: %s %s", design.logo, fault)
        return None
    return {"file": f"/{design.logo}", "alt": words.labels["logo"]}


def _text(text: str, *, is_rtl: bool) -> dict[str, object] | None:
    """Return a text with the direction of its first letter (as `dir=auto` of HTML), or None if nothing is left of it.

    `is_rtl` is the direction of a text without letters.
    """
    cleaned = _clean(text)
    if not cleaned:
        return None
    directions = (unicodedata.bidirectional(sign) for sign in cleaned)
    strong = next((direction for direction in directions if direction in {"L", "R", "AL"}), None)
    breakable = _LONG_WORD.sub(lambda word: "".join(_with_breaks(word[0])), cleaned)
    return {"text": breakable, "is_rtl": is_rtl if strong is None else strong != "L"}


def _clean(text: str) -> str:
    """Return a text in one line, its lines separated by commas, without control characters."""
    lines = (" ".join(line.split()).rstrip(",") for line in unicodedata.normalize("NFC", text).splitlines())
    return _CONTROLS.sub("", ", ".join(line for line in lines if line))


def _with_breaks(word: str) -> Iterator[str]:
    """Yield a word with a place to break before each letter that does not join the one before it."""
    before = ""
    for sign in word:
        joins = unicodedata.category(sign)[0] in {"M", "C"} or unicodedata.combining(before or " ") == _VIRAMA
        if before and not joins and unicodedata.category(before) != "Cf":
            yield _BREAK
        yield sign
        before = sign
