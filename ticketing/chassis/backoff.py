"""The wait before a retry: exponential, bounded, with full jitter so that clients do not retry in step."""

import random


def backoff_seconds(attempt: int, *, first: float, longest: float) -> float:
    """Return a random wait between 0 and `first` seconds doubled `attempt` times, at most `longest`."""
    return random.uniform(0, min(longest, first * 2.0 ** min(attempt, 30)))  # noqa: S311 - jitter is no secret
