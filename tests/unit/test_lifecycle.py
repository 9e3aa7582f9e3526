"""The graph of states: where every walk ends, and that the tables agree with it."""

import re
from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import CheckConstraint, Table

from models import Base, JobState, PredictionState
from models.lifecycle import (
    JOB_ENDED,
    JOB_MOVES,
    LIVE,
    NOTHING_BOUGHT,
    PREDICTION_MOVES,
    is_ended,
    is_live,
)

Graph = Mapping[Any, frozenset[Any]]

JOB, PREDICTION = Base.metadata.tables["job"], Base.metadata.tables["prediction"]
PREDICTION_ENDED = frozenset(PredictionState) - LIVE


def reach(graph: Graph, start: Any) -> set[Any]:
    """Every state that a walk from `start` can come to."""
    reached: set[Any] = set()
    waiting = [start]
    while waiting:
        for target in graph[waiting.pop()] - reached:
            reached.add(target)
            waiting.append(target)
    return reached


@st.composite
def walks(draw: st.DrawFn, graph: Graph, *, steps: int) -> list[Any]:
    """A walk along the moves, from anywhere, as far as it goes."""
    walk = [draw(st.sampled_from(sorted(graph)))]
    for _ in range(draw(st.integers(0, steps))):
        if not graph[walk[-1]]:
            break
        walk.append(draw(st.sampled_from(sorted(graph[walk[-1]]))))
    return walk


@given(walk=walks(JOB_MOVES, steps=30))
def test_a_job_can_still_end_wherever_it_stands(walk: list[JobState]) -> None:
    assert is_ended(walk[-1]) or reach(JOB_MOVES, walk[-1]) & JOB_ENDED


@given(walk=walks(JOB_MOVES, steps=30))
def test_a_job_may_succeed_until_it_has_succeeded(walk: list[JobState]) -> None:
    assert walk[-1] == JobState.SUCCEEDED or JobState.SUCCEEDED in reach(JOB_MOVES, walk[-1])


@given(walk=walks(PREDICTION_MOVES, steps=30))
def test_a_prediction_returns_to_a_state_only_by_way_of_unconfirmed(
    walk: list[PredictionState],
) -> None:
    again = {state for state in walk if walk.count(state) > 1}
    assert again <= {PredictionState.UNCONFIRMED, PredictionState.RENDERING} | NOTHING_BOUGHT


@given(walk=walks(PREDICTION_MOVES, steps=30))
def test_an_ended_prediction_is_live_again_only_if_nothing_was_bought(walk: list[PredictionState]) -> None:
    resumed = {before for before, after in pairwise(walk) if is_live(after) and not is_live(before)}
    assert resumed <= NOTHING_BOUGHT


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_live_prediction_reaches_an_end(state: PredictionState) -> None:
    assert reach(PREDICTION_MOVES, state) & PREDICTION_ENDED


def test_an_ended_job_moves_only_where_a_person_retries_it() -> None:
    retried = {JobState.QUEUED, JobState.STORING}
    assert {state: set(JOB_MOVES[state]) for state in JOB_ENDED} == {
        JobState.SUCCEEDED: set(),
        JobState.FAILED: retried,
        JobState.CANCELLED: retried,
    }


def test_an_ended_prediction_renders_again_only_if_nothing_was_bought() -> None:
    moving = {state: PREDICTION_MOVES[state] for state in PREDICTION_ENDED if PREDICTION_MOVES[state]}
    assert moving == {state: {PredictionState.RENDERING} for state in NOTHING_BOUGHT}


def test_only_a_submission_or_an_adoption_may_be_unconfirmed() -> None:
    marked_unconfirmed = {state for state, moves in PREDICTION_MOVES.items() if PredictionState.UNCONFIRMED in moves}
    assert marked_unconfirmed == {PredictionState.SUBMITTING, PredictionState.RENDERING}


def test_an_unconfirmed_prediction_is_never_submitted_again() -> None:
    assert PredictionState.SUBMITTING not in reach(PREDICTION_MOVES, PredictionState.UNCONFIRMED)


@pytest.mark.parametrize(("states", "graph"), [(JobState, JOB_MOVES), (PredictionState, PREDICTION_MOVES)])
def test_the_graph_knows_every_state_and_no_other(states: type[StrEnum], graph: Graph) -> None:
    assert set(graph) == set(states)
    assert set().union(*graph.values()) <= set(states)


def test_the_live_states_are_those_that_hold_a_slot() -> None:
    assert {"submitting", "unconfirmed", "rendering"} == LIVE
    assert {state for state in PredictionState if is_live(state)} == LIVE
    assert {state for state in JobState if is_ended(state)} == JOB_ENDED


def test_a_state_in_which_nothing_was_bought_has_ended() -> None:
    assert {"refused", "not_found"} == NOTHING_BOUGHT
    assert NOTHING_BOUGHT < PREDICTION_ENDED


def quoted(sql: str) -> set[str]:
    return set(re.findall(r"'(\w+)'", sql))


def check(table: "Table[Any]", name: str) -> str:
    """The SQL of a CHECK by its name in the model."""
    (found,) = (each for each in table.constraints if isinstance(each, CheckConstraint) and each.name == name)
    return str(found.sqltext)


@pytest.mark.parametrize(
    ("table", "name", "states"),
    [
        (JOB, "ck_job_state", set(JobState)),
        (JOB, "ck_job_ended_at", JOB_ENDED),
        (PREDICTION, "ck_prediction_state", set(PredictionState)),
        (PREDICTION, "ck_prediction_ended_at", LIVE),
    ],
)
def test_a_check_holds_the_column_to_the_states(table: "Table[Any]", name: str, states: set[str]) -> None:
    assert quoted(check(table, name)) == states


def test_every_state_that_follows_an_acceptance_needs_the_providers_id() -> None:
    accepted = PREDICTION_MOVES[PredictionState.RENDERING] | {PredictionState.RENDERING}
    without = {PredictionState.CANCELLED, PredictionState.UNCONFIRMED}  # withdrawn before the POST; given back
    assert quoted(check(PREDICTION, "ck_prediction_provider_id")) == accepted - without


def test_the_unique_index_on_live_predictions_covers_the_live_states() -> None:
    (index,) = (each for each in PREDICTION.indexes if each.name == "uq_prediction_live")
    assert index.unique
    assert [column.name for column in index.columns] == ["job_id"]
    assert quoted(str(index.dialect_options["postgresql"]["where"])) == LIVE
