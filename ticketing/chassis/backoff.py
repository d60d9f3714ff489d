"""How long to wait before trying again: exponential, bounded, with full jitter so that those who lost together part."""

import random


def backoff_seconds(attempt: int, *, first: float, longest: float) -> float:
    """Return a random wait of up to `first` seconds doubled `attempt` times, at most `longest`."""
    return random.uniform(0, min(longest, first * 2.0 ** min(attempt, 30)))  # noqa: S311 - jitter is no secret
