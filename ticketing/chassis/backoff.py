"""The wait before a retry: exponential, bounded, with full jitter so that clients do not retry in step."""

import random


def backoff_seconds(attempt: int, *, first: float, max_seconds: float) -> float:
    """Return a random wait between 0 and `first` seconds doubled `attempt` times, at most `max_seconds`."""
    return random.uniform(0, min(max_seconds, first * 2.0 ** min(attempt, 30)))  # noqa: S311 - jitter is no secret
