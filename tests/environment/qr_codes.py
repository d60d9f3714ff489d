"""The QR codes in a picture."""

import io

import zxingcpp
from PIL import Image


def read_qr_codes(picture: Image.Image | bytes) -> list[str]:
    """Return the texts of the QR codes in a picture or in the content of its file."""
    image = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    found = zxingcpp.read_barcodes(image, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    return [code.text for code in found]
