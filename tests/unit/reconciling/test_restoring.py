"""Whose an unknown prediction is after a restore: pure."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from models.queries.reconciling.restore import OpenJob
from rushes.reconciling.matching import Candidate
from rushes.reconciling.restore import Owner, describe_undecidable, match_unknown

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODEL = "lightricks/ltx-2-fast/text-to-video"


def open_job(prompt: str = "a fox", *, is_free: bool = True, posting: bool = False) -> OpenJob:
    live = uuid4() if posting or not is_free else None
    return OpenJob(uuid4(), live, MODEL, {"prompt": prompt}, NOON - timedelta(days=20), is_free)


def candidate(prompt: str | None = "a fox", *, at: float = 0) -> Candidate:
    values = None if prompt is None else {"prompt": prompt, "seed": -1}
    return Candidate(uuid4().hex, MODEL, values, NOON + timedelta(seconds=at))


def test_equal_unknown_predictions_go_to_equal_jobs_one_each() -> None:
    jobs, candidates = (
        [open_job(), open_job(posting=True), open_job("a wolf")],
        [candidate(), candidate(at=1), candidate(at=2)],
    )
    found = match_unknown(candidates, jobs)
    assert {owner for _, owner in found.adoptions} == {Owner(each.job_id, each.prediction_id) for each in jobs[:2]}
    assert (found.undecidable, found.strangers) == ([], candidates[2:])


def test_a_candidate_that_a_render_in_flight_may_need_is_for_a_person() -> None:
    ours = candidate()
    found = match_unknown([ours], [open_job(is_free=False)])
    assert (found.adoptions, found.undecidable, found.strangers) == ([], [ours], [])
    assert ours.provider_id in describe_undecidable(found.undecidable)


def test_a_candidate_that_cannot_be_read_is_for_a_person() -> None:
    unreadable = candidate(None)
    assert match_unknown([unreadable], [open_job()]).undecidable == [unreadable]
