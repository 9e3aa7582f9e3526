"""The decisions of a run: pure, from its rows and the provider's list."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from models import PredictionState
from models.queries.reconciling import ControlPrediction, OpenJob, Posted
from models.transitions.reconciling.runs import RunTicket
from rushes.reconciling.evidence import FoundPurchase, Listing, ReconciliationRun
from rushes.reconciling.matching import Clocks
from rushes.reconciling.reconcile import Adopt, AskOperator, Decided, MarkNotFound, Wait, decide
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MODEL = "lightricks/ltx-2-fast/text-to-video"
CLOCKS = Clocks(-5 * SECOND, 120 * SECOND)
WAITING = (PredictionState.SUBMITTING, PredictionState.UNCONFIRMED)
STATUSES = (PredictionStatus.PROCESSING, PredictionStatus.COMPLETED, PredictionStatus.FAILED)

prompts = st.sampled_from(["a", "b"])
ages = st.integers(0, 600)


def submission(
    prompt: str, age: float, *, state: str = PredictionState.UNCONFIRMED, is_wanted: bool = False, is_due: bool = True
) -> Posted:
    is_open = state == PredictionState.SUBMITTING
    return Posted(uuid4(), uuid4(), MODEL, {"prompt": prompt}, NOON - age * SECOND, state, is_open, is_due, is_wanted)


def candidate(
    prompt: str | None, age: float, *, status: PredictionStatus = PredictionStatus.PROCESSING
) -> ProviderPrediction:
    inputs = {"prompt": prompt} if prompt is not None else None
    created_at = NOON - age * SECOND
    return ProviderPrediction(uuid4().hex, status, video_model_id=MODEL, inputs=inputs, created_at=created_at)


def run_over(*posted: Posted, restored: bool = False, **changes: Any) -> ReconciliationRun:
    """A run at noon; a submission older than 150 s has settled."""
    restored_at = NOON - 600 * SECOND if restored else None
    values: dict[str, Any] = {
        "account_id": uuid4(),
        "claim": 1,
        "ticket": RunTicket(NOON, timedelta(0), None, None, restored_at, restored_at),
        "posted": posted,
        "sought": {each.prediction_id: each for each in posted if each.state in WAITING and each.is_due},
        "clocks": CLOCKS,
        "settled_before": NOON - 150 * SECOND,
        "swept_after": None,
        "controls": (),
        "sweep_controls": (),
    }
    return ReconciliationRun(**values | changes)


def listing(*candidates: ProviderPrediction, **changes: Any) -> Listing:
    values: dict[str, Any] = {
        "since": NOON - 3600 * SECOND,
        "shown": {each.id for each in candidates},
        "named": (),
        "candidates": candidates,
        "posted_since": (),
        "open_jobs": (),
        "strangers": (),
    }
    return Listing(**values | changes)


def decided_on(found: Decided) -> list[Any]:
    """The predictions at the provider that a decision names."""
    adopted = [each.found.id for each in found.unconfirmed if isinstance(each, Adopt)]
    return adopted + [each.found.id for each in (*found.restored, *found.late)]


submissions = st.builds(
    submission,
    prompts,
    ages,
    state=st.sampled_from([*WAITING, "not_found"]),
    is_wanted=st.booleans(),
    is_due=st.booleans(),
)
candidates = st.builds(candidate, prompts | st.none(), ages, status=st.sampled_from(STATUSES))
open_jobs = st.builds(
    lambda prompt, is_free: OpenJob(uuid4(), MODEL, {"prompt": prompt}, NOON - 900 * SECOND, is_free),
    prompts,
    st.booleans(),
)


@given(st.lists(submissions), st.lists(candidates), st.lists(open_jobs), st.booleans())
def test_a_submission_has_one_decision_and_a_prediction_at_most_one_owner(
    posted: list[Posted], listed: list[ProviderPrediction], jobs: list[OpenJob], restored: bool
) -> None:
    run = run_over(*posted, restored=restored)
    found = decide(run, listing(*listed, open_jobs=jobs))
    fates = [each.submission.prediction_id for each in found.unconfirmed]
    assert len(fates) == len(set(fates))
    adopted = {each.submission.prediction_id for each in found.unconfirmed if isinstance(each, Adopt)}
    held_back = {each.input["prompt"] for each in posted if each.is_open}
    due = {each.prediction_id for each in run.sought.values() if not each.is_open}
    assert due <= set(fates) <= due | adopted
    assert (
        not {each.submission.input["prompt"] for each in found.unconfirmed if isinstance(each, MarkNotFound)}
        & held_back
    )
    owned = decided_on(found)
    assert len(owned) == len(set(owned))
    assert not set(owned) & {each.id for each in (*found.unknown, *found.undecidable)}
    assert all(each.found.status != PredictionStatus.FAILED for each in found.restored)


@given(ages, st.booleans())
def test_only_a_settled_submission_is_not_found(age: int, is_ours: bool) -> None:
    ours = submission("a", age)
    control = ControlPrediction(ours.prediction_id, "control", NOON - 900 * SECOND, is_earlier=True)
    shown = {"control"} if is_ours else {"a stranger's"}
    found = decide(run_over(ours, controls=[control]), listing(shown=shown))
    settled = age > 150 and is_ours
    assert [type(each) for each in found.unconfirmed] == [MarkNotFound if settled else Wait]


def test_a_list_that_is_cut_leaves_older_submissions_to_a_person() -> None:
    old, young = submission("a", 600), submission("b", 200)
    found = decide(run_over(old, young), listing(since=NOON - 300 * SECOND))
    assert [(type(each), each.submission) for each in found.unconfirmed] == [(MarkNotFound, young), (AskOperator, old)]


def test_a_submission_that_an_address_names_is_no_longer_matched() -> None:
    own, twin = submission("a", 200), submission("a", 300, state=PredictionState.NOT_FOUND)
    named = [FoundPurchase(each.job_id, each.prediction_id, candidate("a", 200)) for each in (own, twin)]
    other = candidate("a", 199)
    found = decide(run_over(own, twin), listing(other, named=named))
    assert (found.unconfirmed, found.late, found.unknown) == ([], [], [other])


def test_nothing_is_decided_about_the_rest_before_a_restore_has_settled() -> None:
    ours = candidate("a", 10)
    job = OpenJob(uuid4(), MODEL, {"prompt": "a"}, NOON - 900 * SECOND, is_free=True)
    early = run_over(ticket=RunTicket(NOON, timedelta(0), None, None, NOON, NOON))
    found = decide(early, listing(ours, open_jobs=[job]))
    assert (found.is_early, found.restored, found.late, found.unknown) == (True, [], [], [])
    assert decide(run_over(restored=True), listing(ours, open_jobs=[job])).restored == [
        FoundPurchase(job.job_id, None, ours)
    ]


def test_a_job_that_an_address_names_gets_no_second_purchase() -> None:
    job = OpenJob(uuid4(), MODEL, {"prompt": "a"}, NOON - 900 * SECOND, is_free=True)
    named = FoundPurchase(job.job_id, uuid4(), candidate("a", 10))
    twin = candidate("a", 5)
    found = decide(run_over(restored=True), listing(twin, named=[named], open_jobs=[job]))
    assert (found.restored, found.undecidable) == ([], [twin])
