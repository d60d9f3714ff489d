"""The logos of organizers: picture files in a folder of the operator. The service fetches nothing from the network."""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 524_288
MAX_PIXELS: Final = 4_000_000
FORMATS: Final = ("PNG", "JPEG")


def logo_fault(folder: Path | None, name: str) -> str | None:
    """Return the reason why a logo cannot be printed, or None; a logo that was printable is looked at once per version.

    SVG is no format of logos: such a file may refer to other files.

    Args:
        folder: the folder with the logos; None: there is none.
        name: the name of a file in it, without a folder.
    """
    if folder is None:
        return "cannot be set: the service has no folder of logos"
    try:
        status = (folder / name).stat()
    except OSError:
        return "is not a file in the folder of logos"
    return _fault(folder / name, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1000)
def _fault(path: Path, size: int, _version: int) -> str | None:
    # The library takes 2 MB, and only a service whose organizers have logos needs it.
    from PIL import Image  # noqa: PLC0415

    if size > MAX_BYTES:
        return f"has more than {MAX_BYTES} bytes"
    try:
        with warnings.catch_warnings():
            # A decompression bomb is a warning or an error of the library, by its size.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return f"has more than {MAX_PIXELS} pixels"
                picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "is not a PNG or JPEG picture"
    return None
