"""When to check a render again that is polled alone: the best schedule for what is believed of its time. Pure.

R. E. Barlow, L. C. Hunter and F. Proschan, "Optimum checking procedures", J. SIAM 11(4), 1963, as a dynamic programme
over ages. The square-root law (`rushes/render_times/poll_spacing.py`) is what it comes to where checks are many. Where
they are few the hazard changes much from one check to the next, which the law does not know: with two sorts of renders
it keeps checking in the gap between them. One table serves all renders of which the same is believed; a question costs
one bisection.

Ages and lengths are seconds as floats.
"""

import math
from array import array
from bisect import bisect_left
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple

from rushes.render_times.poll_spacing import RenderTime, age_of_checks, count_checks, next_check_by_law

_STEPS_PER_CHECK = 8  # of the law: so many that the grid costs one part in a thousand
_FEWEST_STEPS, _MOST_STEPS = 512, 4096
_UNLIKELY = 1e-4
_YOUNGEST, _OLDEST = 0.02, 1e7
_LEAST_HAZARD = 1e-12
_PLANS = 128  # of 20 KB each


class _Plan(NamedTuple):
    """For each age that was checked, in order, how long to wait for the next check."""

    ages: "array[float]"
    waits: "array[float]"


def next_check_age(
    render_time: RenderTime, *, age: float, request_cost_seconds: float, shortest: float, longest: float
) -> float:
    """The age at which to check next, after a check at age `age` (or after the start, with 0), where checks are polls.

    Between `age + shortest` and `age + longest`; the first wins where they disagree. `request_cost_seconds` is how many
    seconds of delay one request is worth. What outlives all but one render in ten thousand is left to the law.
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
    """Ages eight times as densely as the law checks, up to one that is hardly ever reached."""
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
    """From the end backwards, for each age that was checked: the place of the next one; it never falls.

    `beyond` is what checks and delay cost after the last age.

    The delay is a Monge array (what two crossing steps cost, two nested ones cost no less), so that the best next check
    never comes earlier for a later one: each search ends where that of the next age ended.
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
