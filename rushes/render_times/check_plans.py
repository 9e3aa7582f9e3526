"""When to check an individually polled render again: the best schedule for its estimated render time. Pure.

R. E. Barlow, L. C. Hunter and F. Proschan, "Optimum checking procedures", J. SIAM 11(4), 1963, as a dynamic programme
over ages. With many checks it approaches the square-root law (`rushes/render_times/poll_spacing.py`). With few checks
the hazard changes a lot from one check to the next, and the law ignores that: with two sorts of renders it keeps
checking in the gap between them. All renders with the same render time share one table; a look-up costs one bisection.

Ages and lengths are seconds as floats.
"""

import math
from array import array
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from rushes.render_times.poll_spacing import RenderTime, age_of_checks, count_checks, next_check_by_law

_STEPS_PER_CHECK = 8  # per check of the law; with 8 the grid adds one part in a thousand to the cost
_FEWEST_STEPS, _MOST_STEPS = 512, 4096
_UNLIKELY = 1e-4
_YOUNGEST, _OLDEST = 0.02, 1e7
_LEAST_HAZARD = 1e-12
_PLANS = 128  # of 20 KB each


class _Plan(NamedTuple):
    """For each checked age, in order, how long to wait until the next check."""

    ages: "array[float]"
    waits: "array[float]"


def next_check_age(
    render_time: RenderTime, *, age: float, request_cost_seconds: float, shortest: float, longest: float
) -> float:
    """Return the age of the next check, after a check at age `age` (or the start, with 0), if every check is a poll.

    The result lies between `age + shortest` and `age + longest`; if they conflict, the first wins.
    `request_cost_seconds` is how many seconds of delay one request is worth. At ages that only one render in ten
    thousand reaches, the law decides.
    """
    plan = _make_plan(render_time, request_cost_seconds)
    place = bisect_left(plan.ages, age)
    if place == len(plan.ages):
        return next_check_by_law(
            render_time, age=age, request_cost_seconds=request_cost_seconds, shortest=shortest, longest=longest
        )
    if place > 0 and 2 * age < plan.ages[place - 1] + plan.ages[place]:
        place -= 1
    return age + max(shortest, min(plan.waits[place], longest))


@lru_cache(maxsize=_PLANS)
def _make_plan(render_time: RenderTime, price: float) -> _Plan:
    ages = _lay_grid(render_time, price)
    survivals = [render_time.survival(age) for age in ages]
    beyond = survivals[-1] * math.sqrt(2 * price / max(render_time.hazard(ages[-1]), _LEAST_HAZARD))
    following = _solve(ages, survivals, price=price, beyond=beyond)
    last = len(ages) - 1
    planned = bisect_left(following, last)
    waits = (ages[check] - age for age, check in zip(ages, following[:planned], strict=False))
    return _Plan(array("d", ages[:planned]), array("d", waits))


def _lay_grid(render_time: RenderTime, price: float) -> list[float]:
    """Return ages eight times as dense as the law's checks, up to an age that is almost never reached."""
    end = _find_end(render_time)
    checks = count_checks(render_time, end)
    if checks <= 0:
        return [0.0]
    wanted = _STEPS_PER_CHECK * checks / math.sqrt(2 * price)
    steps = round(min(max(wanted, _FEWEST_STEPS), _MOST_STEPS))
    return [0.0, *(age_of_checks(render_time, checks * number / steps) for number in range(1, steps)), end]


def _find_end(render_time: RenderTime) -> float:
    low, high = math.log(_YOUNGEST), math.log(_OLDEST)
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if render_time.survival(math.exp(middle)) < _UNLIKELY else (middle, high)
    return math.exp(high)


def _solve(ages: list[float], survivals: list[float], *, price: float, beyond: float) -> list[int]:
    """Return the index of the best next check for each age, computed backwards from the end. It never decreases.

    `beyond` is the cost of checks and delay after the last age.

    The delay is a Monge array (two nested steps cost no less than two crossing ones). So a later age never has an
    earlier best next check, and each search can end at the result for the next age.
    """
    spans = zip(pairwise(ages), pairwise(survivals), strict=True)
    waits = [*accumulate(((end - age) * (before + after) / 2 for (age, end), (before, after) in spans), initial=0.0)]
    last = len(ages) - 1
    onward, following = [beyond] * len(ages), [last] * len(ages)
    for now in range(last - 1, -1, -1):
        age, survival, farthest = ages[now], survivals[now], following[now + 1]
        best, chosen = math.inf, farthest
        for check in range(now + 1, farthest + 1):
            cost = (ages[check] - age) * survival - waits[check] + onward[check]
            if cost < best:
                best, chosen = cost, check
        onward[now] = best + waits[now] + price * survival
        following[now] = chosen
    return following
