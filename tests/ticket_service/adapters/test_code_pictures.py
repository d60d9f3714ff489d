"""Every drawn form of a QR code is read small, compressed, inverted, turned and stained.

The limits were measured with 40 tokens and zxing-cpp at 80 pixels with the quiet zone, which are 1.5 per module. A
camera sees more pixels than a screen shows, so small pictures are enlarged three times before they are read.

| change | read |
|---|---|
| 70 pixels, enlarged | 97 % to 100 %, by the way of scaling; 60 pixels: none to 92 % |
| JPEG of quality 15, enlarged | 100 %; quality 10: 20 % |
| any turn, enlarged | 100 %; not enlarged, turns of 1 to 3 and of 33 to 45 degrees fail |
| a stain of 8 % of the code, beside the three large squares | 100 %; of 10 %: 95 %; on a large square: none |
| 1 % of the modules inverted, scattered | 100 %; 1.5 %: 58 %; 2.5 %: none, because each spoils a codeword (level M: 18 %) |
"""

import io
from collections.abc import Callable
from functools import cache
from uuid import UUID

import pytest
import typst
from nacl.signing import SigningKey
from PIL import Image, ImageDraw, ImageOps

from tests.environment.printed_pages import pictures
from tests.environment.qr_codes import read_qr_codes
from tests.selling.rows import NOW, make_event, make_sold
from ticket_service.adapters.drawing import draw
from ticket_service.domain.drawings import Drawing, PrintedTicket
from ticket_service.domain.events import TicketType
from ticket_service.domain.page_design import PageDesign, Paper
from ticket_service.domain.secrets import Secrets
from ticket_service.domain.tickets import TicketFormat
from ticket_service.domain.tokens import Signer

# Always the same code: the limits of another one differ by a few pixels.
TOKEN = Signer(1, SigningKey(bytes(32))).token(UUID(int=1), UUID(int=2), TicketType.STANDARD, 1)
# With the quiet zone, in modules.
SIDE = 53
SMALL = 80
FORMS = ["PNG", "SVG", "A4", "LETTER", "PHONE"]


@cache
def picture(form: str) -> Image.Image:
    """Return the code of a form in its quiet zone, as grey pixels."""
    ticket = PrintedTicket(make_sold(make_event()), Secrets("TKT-0123456789ABCDEF", TOKEN))
    if form in set(Paper):
        content = draw(Drawing(TicketFormat.PDF, (ticket,), "en", NOW, design=PageDesign(Paper(form))))
        [page] = pictures(content, dots_per_inch=200)
        return cut_out(page.convert("L"))
    drawn = draw(Drawing(TicketFormat.SVG if form == "SVG" else TicketFormat.PNG, (ticket,), "en", NOW))
    if form == "SVG":
        source = f"#set page(width: 53pt, height: 53pt, margin: 0pt)\n#image(bytes({_literal(drawn)}), width: 53pt)"
        drawn = bytes(typst.compile(source.encode(), format="png", ppi=72 * 8))
    return Image.open(io.BytesIO(drawn)).convert("L")


def cut_out(page: Image.Image) -> Image.Image:
    """Cut the code with its quiet zone out of a page."""
    import zxingcpp  # noqa: PLC0415 - only here is the position of a code needed

    [code] = zxingcpp.read_barcodes(page)
    left, right = code.position.top_left, code.position.bottom_right
    quiet = (right.x - left.x) * 4 // 45
    return page.crop((left.x - quiet, left.y - quiet, right.x + quiet, right.y + quiet))


def _literal(svg: bytes) -> str:
    escaped = svg.decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def resized(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BICUBIC)


def seen(image: Image.Image) -> Image.Image:
    """Return a small picture as a camera sees it: three pixels for one."""
    return image.resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC)


def compressed(image: Image.Image) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=30)
    return Image.open(content)


def stained(image: Image.Image) -> Image.Image:
    """Return a picture with a grey stain of 5 % of the code, between its large squares."""
    spoilt = image.copy()
    module = image.width / SIDE
    side = 0.05**0.5 * 45 * module
    left, top = image.width / 2 - side / 3, image.height / 2 - side / 2
    ImageDraw.Draw(spoilt).rectangle((left, top, left + side, top + side), fill=90)
    return spoilt


def turned(degrees: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: seen(
        resized(image, SMALL).rotate(degrees, expand=True, fillcolor=255, resample=Image.Resampling.BICUBIC)
    )


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "80 pixels": lambda image: resized(image, SMALL),
    # The background of a mail in dark mode begins at the edge of the picture.
    "80 pixels in a dark mail": lambda image: ImageOps.expand(resized(image, SMALL), 40, fill=18),
    "JPEG of quality 30 at 80 pixels": lambda image: seen(compressed(resized(image, SMALL))),
    "inverted at 80 pixels": lambda image: ImageOps.invert(resized(image, SMALL)),
    "stain of 5 % at 80 pixels": lambda image: seen(resized(stained(image), SMALL)),
    **{f"turned by {degrees} degrees": turned(degrees) for degrees in (2, 33, 180)},
    "all at 120 pixels": lambda image: seen(
        compressed(ImageOps.invert(resized(stained(image), 120).rotate(8, expand=True, fillcolor=255)))
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form", FORMS)
def test_code_is_read_from_every_form_after_every_change(form, change):
    assert read_qr_codes(CHANGES[change](picture(form))) == [TOKEN]


def test_scattered_damage_of_5_percent_is_more_than_the_code_can_correct():
    """The limit is that of error correction level M; a token has no room for a higher one in version 7."""
    image = picture("PNG").copy()
    module = image.width // SIDE
    for number in range(0, 45 * 45, 20):
        left, top = (number % 45 + 4) * module, (number // 45 + 4) * module
        inverse = 255 - image.getpixel((left + module // 2, top + module // 2))  # type: ignore[operator]  # grey
        ImageDraw.Draw(image).rectangle((left, top, left + module - 1, top + module - 1), fill=inverse)
    assert read_qr_codes(image) == []
