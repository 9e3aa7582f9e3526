"""A short run of `rushes chaos`: processes die, servers go away, answers are lost; every promise holds."""

from decimal import Decimal
from pathlib import Path

import pytest

from tests.chaos.conftest import RunChaos

JOBS = 20
PRICE = Decimal("0.24")
TRIAL = ("--seed", "71", "--jobs", str(JOBS), "--minutes", "0.15")


@pytest.mark.timeout(300)
def test_a_short_run_of_chaos_breaks_no_promise(run_chaos: RunChaos, tmp_path: Path) -> None:
    run = run_chaos(*TRIAL)
    assert run["ended"] == sum(run["states"].values()) == JOBS
    assert (run["lost"], run["paid_twice"], run["broken"]) == (0, 0, {})
    assert Decimal(run["wasted"]) <= PRICE * run["strikes"].get("task_deleted", 0)  # billed, whatever its file
    assert {kind.split("_")[0] for kind in run["faults"]} >= {"kill", "freeze", "redis", "postgres"}
    assert run["faults"]["kill_api_in_push"] == 1
    assert not list(tmp_path.glob("rushes-chaos-*"))  # nothing is left of a run that broke nothing
