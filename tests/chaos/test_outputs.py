"""A short run in which the output host fails in every way: no job fails for want of its file, none is bought twice."""

from decimal import Decimal

import pytest

from chaos.faults import OUTPUT_FAULTS
from tests.chaos.conftest import RunChaos

JOBS = 16
TRIAL = ("--scenario", "outputs", "--seed", "3", "--jobs", str(JOBS), "--minutes", "0.5")


@pytest.mark.timeout(240)
def test_every_job_has_its_file_after_the_output_host_failed_in_every_way(run_chaos: RunChaos) -> None:
    run = run_chaos(*TRIAL)
    assert run["states"] == {"succeeded": JOBS}
    assert (run["lost"], run["paid_twice"], Decimal(run["wasted"]), run["broken"]) == (0, 0, 0, {})
    assert sum(run["faults"].values()) == len(OUTPUT_FAULTS)
    assert sum(run["strikes"].values()) > 0
