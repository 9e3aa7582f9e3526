"""The reads of checks: renders in flight, renders that have ended, and renders with an early-check request."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import JOB_PLACE, find_all, find_one, statement


class WatchedPrediction(NamedTuple):
    """The data about a prediction that a check needs."""

    job_id: UUID
    account_id: UUID
    state: str
    claim: int
    provider_id: str | None
    age_seconds: float | None  # since it was accepted
    inconsistent_seconds: float | None  # since the provider's answers make no sense
    watch_windows: int
    created_at: datetime | None  # by the provider's clock if it reported one, else when we learned of it
    by_provider: bool  # the provider reported created_at
    attempt: int  # 1 for the first purchase of the job
    provider_failures: int  # requests of the account in a row without a usable answer
    place: str  # BATCH/NUMBER, else the job's id
    video_model: str
    prompt: str | None  # its first words


class Rendering(NamedTuple):
    """A render in flight. `values` is its input without texts."""

    prediction_id: UUID
    place: str  # BATCH/NUMBER, else the job's id
    claim: int
    age_seconds: float
    watch_windows: int
    video_model: str
    values: dict[str, Any]
    provider_created_at: float | None  # seconds since 1970 by the provider's clock
    early_check_at: float | None = None  # when a check was last requested early, in seconds since 1970


class EndedRender(NamedTuple):
    """A prediction that has ended."""

    prediction_id: UUID
    ago_seconds: float


class PageEntry(NamedTuple):
    """A render in flight that a page of the list should show."""

    prediction_id: UUID
    provider_id: str
    claim: int
    should_show: bool  # old enough that a list with a small lag shows it
    provider_failures: int = 0  # as above


_WATCHED = statement(f"""
    SELECT job_id, account_id, prediction.state, claim, provider_id,
        extract(epoch FROM now() - accepted_at)::float8 AS age_seconds,
        extract(epoch FROM now() - inconsistent_since)::float8 AS inconsistent_seconds,
        watch_windows, coalesce(provider_created_at, accepted_at) AS created_at,
        provider_created_at IS NOT NULL AS by_provider, attempt,
        (SELECT provider_failures FROM account WHERE account.id = account_id) AS provider_failures,
        {JOB_PLACE}, video_model, left(input ->> 'prompt', 100) AS prompt
    FROM prediction JOIN job ON job.id = job_id WHERE prediction.id = :prediction_id
""")


def find_watched(session: Session, prediction_id: UUID) -> WatchedPrediction | None:
    """The prediction to check, whatever its state."""
    return find_one(session, _WATCHED, WatchedPrediction, prediction_id=prediction_id)


_RENDERING = """
    SELECT prediction.id AS prediction_id, {place}, claim,
        extract(epoch FROM now() - accepted_at)::float8 AS age_seconds,
        watch_windows, video_model, coalesce(sent_input, input) - '{{prompt,image,video}}'::text[] AS values,
        extract(epoch FROM provider_created_at)::float8 AS provider_created_at,
        CASE WHEN early_check_at > now() - interval '20 s' THEN extract(epoch FROM early_check_at)::float8 END
            AS early_check_at  -- an older request has been served, or was lost
    FROM prediction JOIN job ON job.id = job_id
    WHERE prediction.state = 'rendering' AND {which}
"""
_SINCE = "> now() - make_interval(secs => :newer_than)"
# The sub-select hides the value from the planner, which would else plan the statement anew at every run.
_HIDDEN = "> (SELECT now() - make_interval(secs => :newer_than))"
_ARE_NEW = f"(accepted_at {_HIDDEN} OR early_check_at {_HIDDEN})"
_RENDERING_SINCE = statement(_RENDERING.format(place=JOB_PLACE, which=_ARE_NEW))


def list_rendering(session: Session, *, newer_than_seconds: float) -> list[Rendering]:
    """Renders in flight that were accepted, or that got an early-check request, in the last `newer_than_seconds`."""
    return find_all(session, _RENDERING_SINCE, Rendering, newer_than=newer_than_seconds)


_RENDERING_OF = statement(_RENDERING.format(place=JOB_PLACE, which="prediction.id = ANY(CAST(:ids AS uuid[]))"))


def list_rendering_of(session: Session, ids: Iterable[UUID]) -> list[Rendering]:
    """The predictions with these ids that still render."""
    return find_all(session, _RENDERING_OF, Rendering, ids=list(ids))


_ENDED = statement(f"""
    SELECT id AS prediction_id, extract(epoch FROM now() - ended_at)::float8 AS ago_seconds
    FROM prediction WHERE account_id = :account_id AND ended_at {_SINCE}
""")


def list_ended(session: Session, account_id: UUID, *, newer_than_seconds: float) -> list[EndedRender]:
    """Predictions that ended in the last `newer_than_seconds`."""
    return find_all(session, _ENDED, EndedRender, account_id=account_id, newer_than=newer_than_seconds)


_ENDED_PLACES = statement("""
    SELECT extract(epoch FROM provider_created_at)::float8 FROM prediction
    WHERE account_id = :account_id AND ended_at > now() - interval '15 minutes' AND provider_created_at IS NOT NULL
    ORDER BY ended_at DESC
    LIMIT 20000
""")


def list_ended_places(session: Session, account_id: UUID) -> list[float]:
    """When the provider created the predictions that ended in the last 15 minutes, in seconds since 1970."""
    return list(session.scalars(_ENDED_PLACES, {"account_id": account_id}))


_ON_PAGE = statement("""
    SELECT id AS prediction_id, provider_id, claim, accepted_at < now() - interval '10 seconds' AS should_show,
        (SELECT provider_failures FROM account WHERE id = :account_id) AS provider_failures
    FROM prediction
    WHERE account_id = :account_id AND state = 'rendering' AND provider_created_at BETWEEN :after AND :before
    ORDER BY id
""")


def list_page(session: Session, account_id: UUID, *, after: datetime, before: datetime) -> list[PageEntry]:
    """Renders in flight that the provider created between two moments, both included, in the order of their ids."""
    return find_all(session, _ON_PAGE, PageEntry, account_id=account_id, after=after, before=before)


_SWEEP_LAG = statement("""
    SELECT coalesce(max(extract(epoch FROM now() - ended_at)) - :elapsed, 0)::float8 FROM prediction
    WHERE account_id = :account_id AND provider_id = ANY(CAST(:ids AS text[])) AND state = 'completed'
""")


def measure_sweep_lag(session: Session, account_id: UUID, *, running: Sequence[str], elapsed: float) -> float:
    """Seconds by which a list is late that shows these as running: the time since we knew that the first had ended.

    `elapsed` seconds have passed since the list was requested. Zero or less: it was not late.
    """
    values = {"account_id": account_id, "ids": list(running), "elapsed": elapsed}
    return float(session.execute(_SWEEP_LAG, values).scalar_one())
