"""A short run of chaos: workers and the API die, servers go away, answers are lost; every promise holds."""

from pathlib import Path

import pytest

from cli.chaos.assault import Moment
from cli.chaos.report import Trial
from cli.chaos.trial import embedded_ground, run_trial

TRIAL = Trial(seed=15, jobs=20)


class Looker:
    """Looks on and remembers."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def look(self, moment: Moment) -> None:
        self.moments.append(moment)


@pytest.mark.timeout(300)
def test_a_short_run_of_chaos_breaks_no_promise(tmp_path: Path) -> None:
    looker = Looker()
    with embedded_ground(tmp_path) as ground:
        report = run_trial(TRIAL, ground, folder=tmp_path, watch=looker)

    assert not report.is_broken, report.describe()
    assert report.ended == sum(report.states.values()) == TRIAL.jobs
    assert {kind.split("_")[0] for kind in report.faults} >= {"kill", "freeze", "redis", "postgres"}
    assert report.faults["kill_api_in_push"] == 1
    assert report.pushes["repeated"] >= 1
    assert looker.moments[-1].ended == TRIAL.jobs
