"""Draw the pictures of wallet passes in the sizes that phones want: an icon, and the logo of the organizer."""

import io
from functools import lru_cache
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from ticket_service.adapters.logos import FORMATS, logo_fault
from ticket_service.domain.page_design import PageDesign, ink_on

# Apple's sizes in points; a picture has one, two and three pixels for each point.
ICON_SIDE: Final = 29
LOGO_SIZE: Final = (160, 50)
SCALES: Final = (1, 2, 3)
# The smoother picture is drawn in so many times its size.
_OVERSAMPLING: Final = 4


def pass_pictures(design: PageDesign) -> dict[str, bytes]:
    """Draw icon.png and, where the design has a logo that can be read, logo.png, each in three scales."""
    if not design.logo or design.logos is None or logo_fault(design.logos, design.logo) is not None:
        return _pictures(design.color, None, 0)
    logo = design.logos / design.logo
    return _pictures(design.color, logo, logo.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _pictures(color: str, logo_file: Path | None, _version: int) -> dict[str, bytes]:
    logo = None if logo_file is None else _logo(logo_file)
    pictures = {}
    for scale in SCALES:
        suffix = "" if scale == 1 else f"@{scale}x"
        pictures[f"icon{suffix}.png"] = _png(_icon(ICON_SIDE * scale, color))
        if logo is not None:
            fitted = logo.copy()
            fitted.thumbnail((LOGO_SIZE[0] * scale, LOGO_SIZE[1] * scale))
            pictures[f"logo{suffix}.png"] = _png(fitted)
    return pictures


def _icon(side: int, color: str) -> Image.Image:
    """Draw a ticket with a perforation, in the ink of the colour."""
    size = side * _OVERSAMPLING
    picture = Image.new("RGB", (size, size), color)
    pen, ink = ImageDraw.Draw(picture), ink_on(color)
    left, top, right, bottom = size * 0.14, size * 0.28, size * 0.86, size * 0.72
    pen.rounded_rectangle((left, top, right, bottom), radius=size * 0.06, fill=ink)
    notch, middle = size * 0.08, size * 0.5
    for x in (left, right):
        pen.ellipse((x - notch, middle - notch, x + notch, middle + notch), fill=color)
    for step in range(4):
        y = top + (bottom - top) * (step * 2 + 1) / 9
        pen.rectangle((size * 0.62, y, size * 0.65, y + (bottom - top) / 9), fill=color)
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def _logo(file: Path) -> Image.Image:
    with Image.open(file, formats=FORMATS) as picture:
        return picture.convert("RGBA")


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return content.getvalue()
