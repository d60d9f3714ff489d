"""The pages of a PDF as tests read them: text, size, codes, glyphs and tags."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pypdf
import pypdfium2
from PIL import Image
from pypdf.generic import ContentStream

# Typst puts spaces of no width into words that are too long for a line.
BREAK = "\N{ZERO WIDTH SPACE}"


@contextmanager
def opened(content: bytes) -> Iterator[pypdfium2.PdfDocument]:
    """Open a PDF as a browser does."""
    document = pypdfium2.PdfDocument(content)
    yield document
    document.close()


def texts(content: bytes) -> list[str]:
    """Return the text of each page, each line break as a blank."""
    with opened(content) as document:
        found = []
        for page in document:
            words = page.get_textpage()
            found.append(" ".join(words.get_text_range().replace(BREAK, "").split()))
            words.close()
            page.close()
        return found


def pictures(content: bytes, dots_per_inch: float = 144) -> list[Image.Image]:
    """Return each page as a picture."""
    with opened(content) as document:
        return [page.render(scale=dots_per_inch / 72).to_pil() for page in document]


def glyphs(content: bytes, page: int = 0) -> list[tuple[str, bytes]]:
    """Return the glyphs of a page in the order of drawing: the resource name of the font, and the two bytes of the glyph.

    The glyph 0 is the box that a font draws for a letter that it does not have.
    """
    reader = pypdf.PdfReader(io.BytesIO(content))
    stream = ContentStream(reader.pages[page].get_contents(), reader)
    font, found = "", []
    for operands, operator in stream.operations:
        if operator == b"Tf":
            font = str(operands[0])
        elif operator in {b"Tj", b"TJ"}:
            shown = operands[0] if operator == b"TJ" else operands
            for drawn in (part.original_bytes for part in shown if hasattr(part, "original_bytes")):
                found += [(font, drawn[at : at + 2]) for at in range(0, len(drawn), 2)]
    return found


def tags(content: bytes) -> list[tuple[str, str]]:
    """Return the structure of a tagged PDF, depth first: each tag and the text that is read in its place."""
    catalogue: Any = pypdf.PdfReader(io.BytesIO(content)).trailer["/Root"]
    found: list[tuple[str, str]] = []
    waiting = [catalogue["/StructTreeRoot"]]
    while waiting:
        node = waiting.pop().get_object()
        if isinstance(node, dict) and "/K" in node:
            if "/S" in node:
                found.append((str(node["/S"]), str(node.get("/Alt", ""))))
            children = node["/K"].get_object()
            waiting += reversed(children if isinstance(children, list) else [children])
    return found
