"""The surroundings of every test: databases, access tokens, certificates, waiting."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
