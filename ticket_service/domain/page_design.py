"""The design of printed tickets: paper, colour, logo and terms, by the settings and by the metadata of an event."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

# The key of an event's metadata that contains its own design.
METADATA_KEY: Final = "ticket_page"
MAX_TERMS: Final = 300
COLOR: Final = re.compile("#[0-9a-fA-F]{6}")
# A name without a folder, so that no path leaves the folder of the logos.
LOGO: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}\.(png|jpg|jpeg)", re.IGNORECASE)


class Paper(StrEnum):
    """The size of a page; PHONE fills the screen of a phone."""

    A4 = "A4"
    LETTER = "LETTER"
    PHONE = "PHONE"


@dataclass(frozen=True, slots=True)
class PageDesign:
    """The design of the pages of one event."""

    paper: Paper = Paper.A4
    # The colour of the band at the top, as #rrggbb.
    color: str = "#183050"
    # The file name of the logo in `logos`; "": no logo.
    logo: str = ""
    # The folder with the logos; None: there is none, and no page has a logo.
    logos: Path | None = None
    # A sentence of the organizer at the foot of each page.
    terms: str = ""


DEFAULT_DESIGN: Final = PageDesign()


def design_of(metadata: Mapping[str, object], default: PageDesign) -> PageDesign:
    """Return the design of an event: of its metadata, where they are valid, otherwise the default one.

    Metadata of events that an older version stored are unchecked.
    """
    own = metadata.get(METADATA_KEY)
    if not isinstance(own, Mapping):
        return default
    faults = {name for name, _ in design_faults(own)}
    # The contract's Struct has only texts here that passed the check.
    valid: dict[str, Any] = {name: value for name, value in own.items() if name not in faults and name in _CHECKS}
    if "paper" in valid:
        valid["paper"] = Paper(valid["paper"])
    return replace(default, **valid)


def design_faults(own: object) -> Iterator[tuple[str, str]]:
    """Yield the name and the fault of each wrong field of an event's design; the name of the design itself is ""."""
    if not isinstance(own, Mapping):
        yield "", "is not an object"
        return
    for name, value in own.items():
        if name not in _CHECKS:
            yield str(name)[:50], f"is unknown; the fields are {', '.join(_CHECKS)}"
        elif not isinstance(value, str):
            yield name, "is not a text"
        elif (fault := _CHECKS[name](value)) is not None:
            yield name, fault


def logo_of(metadata: object) -> str:
    """Return the well-formed name of the logo in an event's metadata, or ""."""
    return design_of(metadata, DEFAULT_DESIGN).logo if isinstance(metadata, Mapping) else ""


def ink_on(color: str) -> str:
    """Return black or white, the one with the higher contrast on a colour, on a screen and in a grey print.

    The contrast (WCAG 2.2) is at least 3.3 for every colour; large letters need 3.
    """
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    on_screen = 0.2126 * _linear(red) + 0.7152 * _linear(green) + 0.0722 * _linear(blue)
    # Printers weight the channels before they become linear.
    in_grey = _linear(0.299 * red + 0.587 * green + 0.114 * blue)
    white = min(1.05 / (luminance + 0.05) for luminance in (on_screen, in_grey))
    black = min((luminance + 0.05) / 0.05 for luminance in (on_screen, in_grey))
    return "#ffffff" if white >= black else "#000000"


def _linear(channel: float) -> float:
    """Return the light of a channel of sRGB (IEC 61966-2-1)."""
    return channel / 12.92 if channel <= _LINEAR_BELOW else ((channel + 0.055) / 1.055) ** 2.4


def _paper_fault(value: str) -> str | None:
    return None if value in list(Paper) else f"is none of {', '.join(Paper)}"


def _color_fault(value: str) -> str | None:
    return None if COLOR.fullmatch(value) else "is no colour such as #183050"


def _logo_fault(value: str) -> str | None:
    return None if value == "" or LOGO.fullmatch(value) else "is not the name of a .png or .jpg file"


def _terms_fault(value: str) -> str | None:
    return None if len(value) <= MAX_TERMS else f"has more than {MAX_TERMS} characters"


# The bound of the standard between its two formulas.
_LINEAR_BELOW: Final = 0.04045
_CHECKS: Final = {"paper": _paper_fault, "color": _color_fault, "logo": _logo_fault, "terms": _terms_fault}
