"""Whose an unknown prediction is after a restore: pure."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from models.queries.reconciling import OpenJob
from rushes.reconciling.restore import describe_undecidable, match_unknown
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODEL = "lightricks/ltx-2-fast/text-to-video"


def open_job(prompt: str = "a fox", *, is_free: bool = True) -> OpenJob:
    return OpenJob(uuid4(), MODEL, {"prompt": prompt}, NOON - timedelta(days=20), is_free)


def candidate(prompt: str | None = "a fox", *, at: float = 0) -> ProviderPrediction:
    values = None if prompt is None else {"prompt": prompt, "seed": -1}
    created_at = NOON + timedelta(seconds=at)
    return ProviderPrediction(
        uuid4().hex, PredictionStatus.PROCESSING, video_model_id=MODEL, inputs=values, created_at=created_at
    )


def test_equal_unknown_predictions_go_to_equal_jobs_one_each() -> None:
    jobs, candidates = (
        [open_job(), open_job(), open_job("a wolf")],
        [candidate(), candidate(at=1), candidate(at=2)],
    )
    purchases, undecidable = match_unknown(candidates, jobs)
    assert {each.job_id for each in purchases} == {each.job_id for each in jobs[:2]}
    assert [each.found for each in purchases] == candidates[:2]
    assert undecidable == []


def test_a_candidate_that_a_render_in_flight_may_need_is_for_a_person() -> None:
    ours = candidate()
    purchases, undecidable = match_unknown([ours], [open_job(is_free=False)])
    assert (purchases, undecidable) == ([], [ours])
    assert ours.id in describe_undecidable(undecidable)


def test_a_candidate_with_another_file_address_is_for_a_person() -> None:
    ours, other = candidate(), candidate("a wolf")
    job = open_job()
    with_file = job._replace(input={**job.input, "image": "upload:sha256:0"}, uploads=["image"])
    assert match_unknown([ours, other], [with_file]) == ([], [ours])
    assert match_unknown([ours], [with_file, job])[0] != []  # an equal job comes first


def test_a_candidate_that_cannot_be_read_is_for_a_person() -> None:
    unreadable = candidate(None)
    assert match_unknown([unreadable], [open_job()]) == ([], [unreadable])
