"""A short run in which the database is put back: what it had forgotten is found, and nothing is bought again."""

from decimal import Decimal

import pytest

from tests.chaos.conftest import RunChaos

JOBS = 60
TRIAL = ("--scenario", "restore", "--seed", "5", "--jobs", str(JOBS), "--minutes", "0.1")


@pytest.mark.timeout(180)
def test_a_database_restored_in_mid_work_buys_nothing_twice(run_chaos: RunChaos) -> None:
    run = run_chaos(*TRIAL)
    assert run["states"] == {"succeeded": JOBS}
    assert (run["lost"], run["paid_twice"], Decimal(run["wasted"]), run["broken"]) == (0, 0, 0, {})
    assert (run["faults"]["postgres_backup"], run["faults"]["postgres_restore"]) == (1, 1)
    assert run["strikes"]["postgres_restore"] > 0  # purchases that the copy had forgotten
