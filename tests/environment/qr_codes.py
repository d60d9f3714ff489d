"""The QR codes in a picture."""

import io
import math
from typing import Any

import zxingcpp
from PIL import Image


def read_qr_codes(picture: Image.Image | bytes) -> list[str]:
    """Return the texts of the QR codes in a picture or in the content of its file."""
    return [code.text for code in _found(picture)]


def sides_of_qr_codes(picture: Image.Image) -> list[float]:
    """Return the length of the upper side of each QR code in a picture, in pixels, without the quiet zone."""
    corners = [(code.position.top_left, code.position.top_right) for code in _found(picture)]
    return [math.dist((left.x, left.y), (right.x, right.y)) for left, right in corners]


def _found(picture: Image.Image | bytes) -> list[Any]:
    image = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    found: list[Any] = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return found
