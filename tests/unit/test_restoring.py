"""Whose an orphan is after a restore: pure."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from models.queries import Opening
from rushes.matching import Candidate
from rushes.restoring import Owner, describe_undecidable, match_orphans

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


def test_what_an_orphan_carries_goes_before_its_input() -> None:
    jobs, marked = [opening(), opening(), opening("a wolf")], orphan(None)
    found = match_orphans([marked], jobs, find_owner=lambda _: Owner(jobs[2].job_id, None))
    assert found.adoptions == [(marked, Owner(jobs[2].job_id, None))]


def test_an_owner_that_buys_no_more_is_not_adopted_for() -> None:
    marked = orphan("a wolf")
    found = match_orphans([marked], [opening()], find_owner=lambda _: Owner(uuid4(), None))
    assert (found.adoptions, found.strangers) == ([], [marked])
