"""Write the examples into the pages that show them: `python -m dev.code_blocks`.

A code block belongs to the file that a comment above it names: `<!-- examples/python/sell.py -->`.
"""

import re
import sys

from dev.contract import ROOT
from ticketing.chassis.arguments import Parser
from ticketing.chassis.interrupts import quietly

PAGES = [ROOT / "docs" / "guide.md", ROOT / "packaging" / "client" / "README.md"]
_BLOCK = re.compile(r"(<!-- (examples/\S+) -->\n\n```\w+\n).*?(^```$)", re.MULTILINE | re.DOTALL)


def refreshed(text: str) -> str:
    """Return the text of a page with the present content of every example."""
    return _BLOCK.sub(lambda block: block[1] + (ROOT / block[2]).read_text() + block[3], text)


def main() -> int:
    """Write the examples into all pages."""
    Parser(prog="python -m dev.code_blocks", description="Write the examples into their pages.").parse_args()
    for page in PAGES:
        page.write_text(refreshed(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
