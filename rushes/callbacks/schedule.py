"""When a callback is sent again after a failure. Pure."""

from collections.abc import Callable
from datetime import timedelta

from rushes.timing import LONGEST_WISH

GIVE_UP = timedelta(days=3)
"""A delivery is given up once it has been pending for this long."""
_FIRST = (
    timedelta(seconds=5),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
)
_LATER = timedelta(hours=12)
_LONGEST_HOLD = timedelta(minutes=5)
_JITTER = 0.1


def find_wait(
    attempts: int, *, random: Callable[[], float], retry_after: timedelta | None = None, scale: float = 1.0
) -> timedelta:
    """Return the wait after failed attempt number `attempts` (from 1), a tenth more or less by chance.

    `retry_after` (up to an hour) is a lower bound, and not scaled. `random` returns a number in [0, 1).
    """
    planned = _FIRST[attempts - 1] if attempts <= len(_FIRST) else _LATER
    wait = planned * scale * (1 + _JITTER * (2 * random() - 1))
    if retry_after is None:
        return wait
    return max(wait, min(retry_after, LONGEST_WISH) * (1 + _JITTER * random()))


def find_hold(
    failures: int, *, broken_after: int, retry_after: timedelta | None = None, scale: float = 1.0
) -> timedelta | None:
    """Return how long an endpoint gets nothing after this many failures in a row; None: it is not held.

    From `broken_after` failures on it is held, at most five minutes, so that it is soon used again when it works. Its
    `retry_after` holds it in any case, because it concerns the whole endpoint.
    """
    hold = None
    if failures >= broken_after:
        hold = min(find_wait(failures - broken_after + 1, random=lambda: 0.5, scale=scale), _LONGEST_HOLD * scale)
    wish = min(retry_after, LONGEST_WISH) if retry_after is not None else None
    return max((each for each in (hold, wish) if each is not None), default=None)
