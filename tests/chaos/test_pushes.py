"""A short run in which pushes are cut off and repeated: each idempotency key makes one job."""

import pytest

from tests.chaos.conftest import RunChaos

JOBS = 40
TRIAL = ("--scenario", "pushes", "--seed", "3", "--jobs", str(JOBS), "--minutes", "0.1")


@pytest.mark.timeout(180)
def test_a_push_that_is_repeated_with_its_key_makes_one_job(run_chaos: RunChaos) -> None:
    run = run_chaos(*TRIAL)
    assert run["states"] == {"succeeded": JOBS}
    assert (run["lost"], run["paid_twice"], run["broken"]) == (0, 0, {})
    assert run["faults"]["kill_api_in_push"] > 0
    assert run["pushes"]["repeated"] > 0
