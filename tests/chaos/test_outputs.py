"""A short run in which the output host fails in every way: no job fails for want of its file, none is bought twice."""

import json
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest

from chaos.faults import OUTPUT_FAULTS
from cli.app import main

JOBS = 16
TRIAL = ("--scenario", "outputs", "--seed", "3", "--jobs", str(JOBS), "--minutes", "0.5")


@pytest.mark.timeout(240)
def test_every_job_has_its_file_after_the_output_host_failed_in_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = main(["chaos", *TRIAL, "--json"])
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (code, told["ok"]) == (0, True), err
    (run,) = told["runs"]
    assert run["states"] == {"succeeded": JOBS}
    assert (run["lost"], run["paid_twice"], Decimal(run["wasted"]), run["broken"]) == (0, 0, 0, {})
    assert sum(run["faults"].values()) == len(OUTPUT_FAULTS)
    assert sum(run["strikes"].values()) > 0
