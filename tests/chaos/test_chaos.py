"""A short run of chaos: workers die and freeze, servers go away, answers are lost; every promise holds."""

from pathlib import Path

import pytest

from tests.chaos.harness import run_seed
from tests.chaos.plan import PROCESS_FAULTS, PROVIDER_FAULTS, draw_plan

JOBS = 30
SEED = 1


@pytest.mark.timeout(300)
def test_a_short_run_of_chaos_breaks_no_promise(tmp_path: Path) -> None:
    report = run_seed(SEED, jobs=JOBS, folder=tmp_path)

    assert not report.broken, report.describe()
    assert report.ended == JOBS
    assert report.faults.total() >= 5
    assert {kind.split("_")[0] for kind in report.faults} >= {"kill", "freeze", "redis", "postgres"}


def test_the_same_seed_draws_the_same_plan_and_another_seed_another() -> None:
    assert draw_plan(7, jobs=300) == draw_plan(7, jobs=300)
    assert draw_plan(7, jobs=300) != draw_plan(8, jobs=300)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_long_plan_deals_every_kind_of_fault_and_pushes_every_job(seed: int) -> None:
    plan = draw_plan(seed, jobs=300)

    assert {fault.kind for fault in plan.faults} == {*PROCESS_FAULTS, *PROVIDER_FAULTS}
    assert sum(jobs for _, jobs in plan.pushes) == 300
