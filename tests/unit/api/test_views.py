"""What is worked out from rows for people to see."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from models import Job, Prediction, PredictionState
from models.queries.health import EXPECTED_MIGRATION, Health
from models.queries.jobs import BatchSummary
from rushes.jobs.batches import BatchView
from rushes.jobs.views import JobView, cut_page
from rushes.readiness import Readiness

BEGAN = datetime(2026, 11, 5, 12, tzinfo=UTC)
NOBODY = Health(leader=None, workers=0)


def batch(states: dict[str, int], *, ended_after: int | None = None) -> BatchView:
    summary = BatchSummary(
        id=uuid4(),
        tenant="default",
        name="pilot",
        job_count=sum(states.values()),
        created_at=BEGAN,
        states=states,
        estimated=Decimal(1),
        ended_at=None if ended_after is None else BEGAN + timedelta(seconds=ended_after),
        held=Decimal(0),
        spent=Decimal(0),
        mean_seconds=None,
    )
    return BatchView(summary, seen_at=BEGAN + timedelta(seconds=100))


def test_the_time_left_follows_from_the_rate_so_far() -> None:
    view = batch({"queued": 12, "rendering": 3, "succeeded": 4, "failed": 1})
    assert (view.done, view.elapsed, view.left) == (5, timedelta(seconds=100), timedelta(seconds=300))


def test_a_batch_has_no_time_left_before_its_first_job_has_ended() -> None:
    assert batch({"queued": 2, "rendering": 1}).left is None


def test_a_batch_that_has_ended_stays_at_its_length() -> None:
    view = batch({"succeeded": 2, "cancelled": 1}, ended_after=40)
    assert (view.done, view.elapsed, view.left) == (3, timedelta(seconds=40), timedelta(0))


def test_every_state_is_counted_even_at_nought() -> None:
    states = {"queued": 0, "rendering": 0, "storing": 0, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert batch({"succeeded": 1}).states == states


def bought(state: PredictionState, *, posted: bool = True, is_duplicate: bool = False) -> Prediction:
    posted_at = BEGAN if posted else None
    return Prediction(
        id=uuid4(), state=state.value, price=Decimal("0.36"), posted_at=posted_at, is_duplicate=is_duplicate
    )


@pytest.mark.parametrize(
    ("prediction", "attempts", "held", "spent"),
    [
        (bought(PredictionState.SUBMITTING, posted=False), 0, "0.36", "0"),
        (bought(PredictionState.SUBMITTING), 1, "0.36", "0"),
        (bought(PredictionState.UNCONFIRMED), 1, "0.36", "0"),
        (bought(PredictionState.RENDERING), 1, "0.36", "0"),
        (bought(PredictionState.COMPLETED), 1, "0", "0.36"),
        (bought(PredictionState.LOST), 1, "0", "0.36"),
        (bought(PredictionState.RENDERING, is_duplicate=True), 0, "0.36", "0"),
        (bought(PredictionState.COMPLETED, is_duplicate=True), 0, "0", "0.36"),
        (bought(PredictionState.FAILED, is_duplicate=True), 0, "0", "0"),
        (bought(PredictionState.DELETED), 1, "0", "0.36"),
        (bought(PredictionState.FAILED), 1, "0", "0"),
        (bought(PredictionState.TIMEOUT), 1, "0", "0"),
        (bought(PredictionState.REFUSED), 0, "0", "0"),
        (bought(PredictionState.NOT_FOUND), 0, "0", "0"),
        (bought(PredictionState.CANCELLED, posted=False), 0, "0", "0"),
    ],
)
def test_attempts_and_money_follow_from_the_purchases(
    prediction: Prediction, attempts: int, held: str, spent: str
) -> None:
    view = JobView(Job(id=uuid4(), video_model="lightricks/ltx-2-retake"), None, [prediction], [])
    assert (view.attempts, view.held, view.spent) == (attempts, Decimal(held), Decimal(spent))
    assert view.model_name == "ltx-2-retake"


def test_a_video_model_that_left_the_catalogue_is_called_by_its_id() -> None:
    assert JobView(Job(id=uuid4(), video_model="lightricks/ltx-1"), None, [], []).model_name == "lightricks/ltx-1"


@pytest.mark.parametrize(
    ("rows", "items", "next_key"), [([], [], None), ([1, 2], [1, 2], None), ([1, 2, 3], [1, 2], UUID(int=2))]
)
def test_a_page_has_a_next_one_only_where_there_are_more_rows(
    rows: list[int], items: list[int], next_key: UUID | None
) -> None:
    page = cut_page(rows, limit=2, key=lambda number: UUID(int=number))
    assert (list(page.items), page.next_key) == (items, next_key)


@pytest.mark.parametrize(
    ("migration", "ready"), [(None, False), ("0000", False), (EXPECTED_MIGRATION, True), ("9999", True)]
)
def test_a_database_that_is_newer_is_ready_and_an_older_one_is_not(migration: str | None, ready: bool) -> None:
    assert Readiness(reachable=True, migration=migration, health=NOBODY).ready is ready


def test_the_expected_migration_is_the_newest_script() -> None:
    root = Path(__file__).resolve().parents[3]
    scripts = ScriptDirectory.from_config(Config(str(root / "alembic.ini")))
    assert scripts.get_current_head() == EXPECTED_MIGRATION
    assert all(len(script.revision) == len(EXPECTED_MIGRATION) for script in scripts.walk_revisions())
