"""A short run in which what sends and records callbacks dies: each event of each job arrives."""

import pytest

from tests.chaos.conftest import RunChaos

JOBS = 40
TRIAL = ("--scenario", "callbacks", "--seed", "5", "--jobs", str(JOBS), "--minutes", "0.3")


@pytest.mark.timeout(300)
def test_every_callback_arrives_although_processes_die(run_chaos: RunChaos) -> None:
    run = run_chaos(*TRIAL)
    assert run["states"] == {"succeeded": JOBS}
    assert (run["lost"], run["paid_twice"], run["broken"]) == (0, 0, {})
    assert run["faults"]["kill_deliver"] > 0
    assert run["faults"]["postgres_kill"] + run["faults"].get("postgres_restart", 0) > 0
