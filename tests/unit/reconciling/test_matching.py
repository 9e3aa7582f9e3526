"""Pairing unconfirmed submissions with what the provider lists."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import PredictionState
from models.queries.reconciling import Posted
from rushes.reconciling.matching import Clocks, Matches, canonical, match_submissions
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CLOCKS = Clocks(timedelta(seconds=-5), timedelta(seconds=120))
MODEL = "lightricks/ltx-2-fast/text-to-video"


def submission(prompt: str = "a fox", *, at: float = 0, is_open: bool = False, **more: Any) -> Posted:
    values = {"prompt": prompt, "duration": 6} | more
    state = PredictionState.SUBMITTING if is_open else PredictionState.UNCONFIRMED
    posted_at = NOON + timedelta(seconds=at)
    return Posted(uuid4(), uuid4(), MODEL, values, posted_at, state, is_open, is_due=True, is_wanted=False)


def shown(inputs: dict[str, Any] | None, *, at: float = 0, model: str = MODEL, name: str = "p1") -> ProviderPrediction:
    created_at = NOON + timedelta(seconds=at)
    status = PredictionStatus.PROCESSING
    return ProviderPrediction(name, status, video_model_id=model, inputs=inputs, created_at=created_at)


def candidate(prompt: str | None = "a fox", *, at: float = 1, model: str = MODEL, **more: Any) -> ProviderPrediction:
    values = None if prompt is None else {"prompt": prompt, "duration": 6} | more
    return shown(values, at=at, model=model, name=uuid4().hex)


def adopted(findings: Matches[Posted, ProviderPrediction]) -> dict[UUID, str]:
    return {pair[0].prediction_id: pair[1].id for pair in findings.adoptions}


@pytest.mark.parametrize(
    "inputs",
    [
        {"prompt": "a fox", "duration": 6},
        {"duration": 6.0, "prompt": "a fox"},
        {"prompt": " a fox ", "duration": 6, "generate_audio": True, "seed": -1},
    ],
    ids=["as sent", "re-ordered, as a float", "with defaults added"],
)
def test_an_equal_input_is_adopted_however_it_is_shown(inputs: dict[str, Any]) -> None:
    ours, theirs = submission(), shown(inputs)

    assert adopted(match_submissions([ours], [theirs], clocks=CLOCKS)) == {ours.prediction_id: "p1"}


@pytest.mark.parametrize(
    "other",
    [
        candidate("a wolf"),
        candidate(duration=8),
        candidate(model="lightricks/ltx-2-pro/text-to-video"),
        candidate(at=-60),
        candidate(at=600),
        shown({"prompt": "a fox"}),
    ],
    ids=["prompt", "duration", "video model", "too early", "too late", "a key is missing"],
)
def test_an_unequal_candidate_is_an_unknown_prediction(other: ProviderPrediction) -> None:
    findings = match_submissions([ours := submission()], [other], clocks=CLOCKS)

    assert findings.missing == [ours]
    assert findings.unmatched == [other]


def test_identical_jobs_take_one_candidate_each_the_oldest_the_oldest() -> None:
    first, second = submission(at=0), submission(at=10)
    early, late = candidate(at=1), candidate(at=11)

    findings = match_submissions([second, first], [late, early], clocks=CLOCKS)

    assert adopted(findings) == {first.prediction_id: early.id, second.prediction_id: late.id}


def test_one_candidate_is_never_adopted_twice() -> None:
    findings = match_submissions([submission(), submission(at=1)], [candidate()], clocks=CLOCKS)

    assert len(findings.adoptions) == len(findings.missing) == 1


def test_an_equal_twin_that_may_still_be_answered_makes_all_wait() -> None:
    marked_unconfirmed, twin, other = submission(), submission(at=1, is_open=True), submission("a wolf")
    wolf = candidate("a wolf")

    findings = match_submissions([marked_unconfirmed, twin, other], [candidate(), wolf], clocks=CLOCKS)

    assert findings.waiting == [marked_unconfirmed]
    assert adopted(findings) == {other.prediction_id: wolf.id}
    assert not findings.unmatched


def test_a_candidate_that_cannot_be_read_makes_absence_impossible() -> None:
    findings = match_submissions([ours := submission()], [candidate(None)], clocks=CLOCKS)

    assert findings.undecidable == [ours]
    assert not findings.missing


def test_a_candidate_that_cannot_be_read_matters_only_where_it_may_be_it() -> None:
    elsewhere = candidate(None, model="wavespeed-ai/ltx-2.3/text-to-video")

    findings = match_submissions([ours := submission()], [elsewhere, candidate(None, at=-600)], clocks=CLOCKS)

    assert findings.missing == [ours]


prompts = st.sampled_from(["a", "b", "c"])


@given(
    st.lists(st.tuples(prompts, st.integers(0, 100), st.booleans())),
    st.lists(st.tuples(prompts | st.none(), st.integers(0, 100))),
)
def test_a_submission_has_one_fate_and_a_candidate_at_most_one_owner(
    ours: list[tuple[str, int, bool]], theirs: list[tuple[str | None, int]]
) -> None:
    submissions = [submission(prompt, at=at, is_open=is_open) for prompt, at, is_open in ours]
    candidates = [candidate(prompt, at=at) for prompt, at in theirs]

    found = match_submissions(submissions, candidates, clocks=CLOCKS)

    owners = [pair[1].id for pair in found.adoptions]
    assert len(owners) == len(set(owners))
    fates = [each.prediction_id for each in (*found.waiting, *found.missing, *found.undecidable)]
    fates += list(adopted(found))
    waiting = {each.input["prompt"] for each in submissions if each.is_open}
    settled = [each for each in submissions if not (each.is_open and each.input["prompt"] in waiting)]
    assert sorted(fates) == sorted(each.prediction_id for each in settled)
    assert not {each.id for each in found.unmatched} & set(owners)


@given(st.dictionaries(st.text(), st.integers() | st.booleans() | st.text()))
def test_the_order_of_keys_means_nothing(values: dict[str, Any]) -> None:
    assert canonical(values) == canonical(dict(reversed(values.items())))
