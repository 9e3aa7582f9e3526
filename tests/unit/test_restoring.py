"""Whose an orphan is after a restore: pure."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from models.queries import Opening
from rushes.reconciling.matching import Candidate
from rushes.reconciling.restore import Owner, describe_undecidable, match_orphans

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODEL = "lightricks/ltx-2-fast/text-to-video"


def opening(prompt: str = "a fox", *, is_free: bool = True, posting: bool = False) -> Opening:
    live = uuid4() if posting or not is_free else None
    return Opening(uuid4(), live, MODEL, {"prompt": prompt}, NOON - timedelta(days=20), is_free)


def orphan(prompt: str | None = "a fox", *, at: float = 0) -> Candidate:
    values = None if prompt is None else {"prompt": prompt, "seed": -1}
    return Candidate(uuid4().hex, MODEL, values, NOON + timedelta(seconds=at))


def test_equal_orphans_go_to_equal_jobs_one_each() -> None:
    jobs, orphans = [opening(), opening(posting=True), opening("a wolf")], [orphan(), orphan(at=1), orphan(at=2)]
    found = match_orphans(orphans, jobs)
    assert {owner for _, owner in found.adoptions} == {Owner(each.job_id, each.prediction_id) for each in jobs[:2]}
    assert (found.undecidable, found.strangers) == ([], orphans[2:])


def test_what_a_render_in_flight_may_yet_need_is_for_a_person() -> None:
    ours = orphan()
    found = match_orphans([ours], [opening(is_free=False)])
    assert (found.adoptions, found.undecidable, found.strangers) == ([], [ours], [])
    assert ours.provider_id in describe_undecidable(found.undecidable)


def test_what_cannot_be_read_is_for_a_person() -> None:
    unreadable = orphan(None)
    assert match_orphans([unreadable], [opening()]).undecidable == [unreadable]
