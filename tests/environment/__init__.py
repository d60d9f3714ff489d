"""Helpers for every test: databases, access tokens, certificates, a clock, waiting."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
