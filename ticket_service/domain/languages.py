"""Languages of buyers: BCP 47 tags, and the choice among the languages that have texts (RFC 4647, section 3.4)."""

import re
from collections.abc import Collection, Mapping
from typing import Final

# The recommended bound of RFC 5646, section 4.4.1.
MAX_LENGTH: Final = 35
# The grammar of RFC 5646, section 2.1, without tags that name no language: private ones (x-…) and grandfathered ones.
# Languages of four and more letters are reserved, so "german" is refused.
_TAG: Final = re.compile(
    r"(?P<language>[a-z]{2,3})(?P<extlangs>(?:-[a-z]{3}){0,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)"
)
# Codes that ISO 639 replaced, but that programs still send.
_REPLACED: Final = {"iw": "he", "in": "id"}
# Regions whose Chinese is written in the script that the tag "zh" alone does not mean.
_TRADITIONAL: Final = frozenset({"TW", "HK", "MO"})


def normalised(tag: str) -> str | None:
    """Return a tag in the usual case and with hyphens, such as `zh-Hant-TW` for `ZH_hant_tw`, or None if it is none."""
    if len(tag) > MAX_LENGTH or not tag.isascii():
        return None
    found = _TAG.fullmatch(tag.lower().replace("_", "-"))
    if found is None:
        return None
    language, script, region = found["language"], found["script"], found["region"]
    parts = [_REPLACED.get(language, language) + found["extlangs"]]
    parts += [script.title()] if script else []
    parts += [region.upper()] if region else []
    return "-".join(parts) + found["rest"]


def wanted_language(language: str, metadata: Mapping[str, object]) -> str:
    """Return the language of a purchase; "" if the buyer wanted none.

    Args:
        language: the stored tag.
        metadata: the metadata of the purchase. Before there was a field for it, buyers named the language there.
    """
    named = metadata.get("language")
    return language or (normalised(named) or "" if isinstance(named, str) else "")


def look_up(wanted: str, available: Collection[str], default: str) -> str:
    """Return the language of `available` that is closest to the normalised tag `wanted`, or `default`.

    The last subtag is removed until a language matches: `de-CH-1996` gets the texts of `de-CH`, otherwise of `de`.
    """
    subtags = wanted.split("-")
    if subtags[0] == "zh" and _TRADITIONAL.intersection(subtags[1:2]):
        subtags.insert(1, "Hant")
    while subtags:
        tag = "-".join(subtags)
        if tag in available:
            return tag
        subtags.pop()
        if subtags and len(subtags[-1]) == 1:
            # A singleton, such as `x`, belongs to the subtag that was removed.
            subtags.pop()
    return default
