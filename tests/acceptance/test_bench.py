"""The benchmark itself, in small: a script and Rushes on the same renders, and figures that can be true."""

import pytest

from bench.arithmetic import Figures
from bench.contest import hold_contest
from bench.loads import HALF_SECOND, RUSHES, Load

LOAD = Load(
    name="tiny",
    about="a few renders",
    slots=4,
    median=0.5,
    renders=8,
    settings={"poll_shortest_seconds": 0.2},
)


@pytest.mark.parametrize("contestant", [HALF_SECOND, RUSHES])
def test_a_contest_ends_with_figures_that_can_be_true(contestant: str) -> None:
    figures: Figures = hold_contest(LOAD, contestant)
    assert (figures.unseen, figures.requests["submit"], figures.requests["download"]) == (0, 1.0, 1.0)
    assert figures.watching_requests >= 1 / LOAD.renders
    assert figures.mean_delay is not None
    assert figures.p95_delay is not None
    assert 0 < figures.mean_delay <= figures.seconds
    assert figures.mean_delay <= figures.p95_delay
    assert figures.slot_share is not None
    assert 0 < figures.slot_share <= 1 + 1e-9
    own = {"worker", "store worker", "API", "Postgres", "Redis"} if contestant == RUSHES else {"client"}
    assert own <= set(figures.cpu_ms)
    assert all(figures.cpu_ms[kind] > 0 and figures.memory_mb[kind] > 1 for kind in own - {"Redis"})
