"""Draw QR codes as pictures.

Tokens consist of capital letters and digits, so a code of version 7 with error correction M has room for 172 of them in
alphanumeric mode. With a fixed version and mask a code takes 2 ms; trying all masks takes 14 ms. In a trial, decoders
read every mask, because the payload is practically random.
"""

import struct
import zlib
from typing import Final

VERSION: Final = 7
MASK: Final = 3
# The margin that scanners need, in modules.
QUIET_ZONE: Final = 4
PIXELS_PER_MODULE: Final = 10

Modules = list[list[bool]]

# The PNG specification (ISO/IEC 15948) defines the constant end of the header and these two filters of a line.
_ONE_BIT_GREYSCALE: Final = bytes([1, 0, 0, 0, 0])
_FILTER_NONE: Final = b"\0"
_FILTER_UP: Final = b"\2"


def png(text: str) -> bytes:
    """Draw the code as a PNG, black on white, large enough for the screen of a phone.

    Without an imaging library, a page of 100 tickets takes a third less time.
    """
    modules = qr_modules(text)
    side = len(modules) * PIXELS_PER_MODULE
    line_bytes = -(-side // 8)
    unused_bits = "0" * (line_bytes * 8 - side)
    black, white = "0" * PIXELS_PER_MODULE, "1" * PIXELS_PER_MODULE
    repetition = _FILTER_UP + bytes(line_bytes)
    lines = bytearray()
    for row in modules:
        pixels = "".join([black if dark else white for dark in row]) + unused_bits
        lines += _FILTER_NONE + int(pixels, 2).to_bytes(line_bytes, "big") + repetition * (PIXELS_PER_MODULE - 1)
    header = struct.pack(">II", side, side) + _ONE_BIT_GREYSCALE
    # A picture takes two kilobytes: a higher level of compression only costs time.
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines, level=1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join([_chunk(kind, data) for kind, data in chunks])


def svg(text: str) -> bytes:
    """Draw the code as an SVG: one path, a horizontal line for each run of dark modules."""
    modules = qr_modules(text)
    side = len(modules)
    path = "".join(
        f"M{start} {row}h{length}v1h-{length}z" for row, line in enumerate(modules) for start, length in dark_runs(line)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges">'
        f'<path fill="#fff" d="M0 0h{side}v{side}h-{side}z"/><path d="{path}"/></svg>'
    ).encode()


def qr_modules(text: str) -> Modules:
    """Return the rows of the code, including the quiet zone; True is dark."""
    # Imported with the first code, because a start must not wait for the imaging library that qrcode imports.
    import qrcode  # noqa: PLC0415
    from qrcode.constants import ERROR_CORRECT_M  # noqa: PLC0415

    code = qrcode.QRCode(version=VERSION, error_correction=ERROR_CORRECT_M, border=QUIET_ZONE, mask_pattern=MASK)
    # optimize=0 does not split the text: a token then gets the alphanumeric mode as a whole.
    code.add_data(text, optimize=0)
    code.make(fit=False)
    modules: Modules = code.get_matrix()
    return modules


def dark_runs(line: list[bool]) -> list[tuple[int, int]]:
    """Return start and length of each run of dark modules."""
    found: list[tuple[int, int]] = []
    start: int | None = None
    for column, dark in enumerate([*line, False]):
        if dark and start is None:
            start = column
        elif not dark and start is not None:
            found.append((start, column - start))
            start = None
    return found


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
