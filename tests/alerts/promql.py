"""The names and labels in an expression of PromQL; enough of the language for our rules and boards."""

import re
from collections.abc import Iterator

# Everything else that looks like a name is a metric, unless `(` follows: a function or an aggregation.
KEYWORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "bool"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"\b([a-z_][a-z0-9_]*)\s*(?:\{([^}]*)\})?(?!\s*\(|\w)", re.IGNORECASE)
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
# Durations, such as [5m] and `offset 15m`, and the variables of Grafana.
DURATION = re.compile(r"\[[^]]*\]|\boffset\s+\w+")


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric of an expression, and the labels that its selector names."""
    for name, matchers in SELECTOR.findall(DURATION.sub(" ", GROUPING.sub(" ", expression))):
        if name not in KEYWORDS and not name.isupper():
            yield name, set(MATCHER.findall(matchers))


def grouping_labels(expression: str) -> set[str]:
    """Return the labels of the groupings of an expression."""
    return {label.strip() for labels in GROUPING.findall(expression) for label in labels.split(",") if label.strip()}
