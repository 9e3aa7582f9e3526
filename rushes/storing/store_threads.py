"""How many store steps should run at the same time. Pure."""

import math

LEAST_THREADS = 4
HEADROOM = 1.5
"""For the time between two steps of a thread, and for bursts."""
DRAIN_SECONDS = 10.0
"""A backlog is to be stored within about this time."""


def count_store_threads(
    *, completions_per_second: float, seconds_per_store: float, waiting: int, most: int, least: int = LEAST_THREADS
) -> int:
    """Return the number of steps by Little's law: the rate at which files must be stored, times the seconds of a step.

    The rate is that of the completions plus the `waiting` files spread over `DRAIN_SECONDS`. Steps take longer when the
    processor is short, so `most` is reached then: threads that wait cost almost nothing.
    """
    rate = completions_per_second + waiting / DRAIN_SECONDS
    return min(most, max(least, math.ceil(HEADROOM * rate * seconds_per_store)))
