"""A short run of `rushes chaos`: processes die, servers go away, answers are lost; every promise holds."""

import json
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from cli.app import main

JOBS = 20
PRICE = Decimal("0.24")
TRIAL = ("--seed", "71", "--jobs", str(JOBS), "--minutes", "0.15")


@pytest.mark.timeout(300)
def test_a_short_run_of_chaos_breaks_no_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = main(["chaos", *TRIAL, "--json"])
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True), err
    (run,) = told["runs"]
    assert run["ended"] == sum(run["states"].values()) == JOBS
    assert (run["lost"], run["paid_twice"], run["broken"]) == (0, 0, {})
    assert Decimal(run["wasted"]) <= PRICE * run["strikes"].get("task_deleted", 0)  # billed, whatever its file
    assert {kind.split("_")[0] for kind in run["faults"]} >= {"kill", "freeze", "redis", "postgres"}
    assert run["faults"]["kill_api_in_push"] == 1
    assert not list(tmp_path.glob("rushes-chaos-*"))  # nothing is left of a run that broke nothing
