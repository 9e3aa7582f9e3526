"""The data that render times are learned from: completed renders and renders in flight. Ages count from acceptance."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, statement


class CompletedRender(NamedTuple):
    """A completed prediction that is not yet recorded as a finished render. `values` is its input without texts."""

    prediction_id: UUID
    video_model: str
    values: dict[str, Any]
    ended_at: datetime
    ago_seconds: float
    age_seconds: float  # its age when it was found completed
    running_seconds: float | None  # its age when it was last seen running
    execution_seconds: float | None  # as the provider reports it


class KnownRender(NamedTuple):
    """A finished render."""

    video_model: str
    output_seconds: int
    prediction_id: UUID
    ago_seconds: float
    low_seconds: float
    high_seconds: float


class RendersInFlight(NamedTuple):
    """Renders in flight of about the same age. `values` is their input without texts."""

    video_model: str
    values: dict[str, Any]
    age_seconds: float
    renders: int


# Adopted predictions and duplicate purchases are left out, because their time of acceptance is not known.
# Any commit becomes visible within ten seconds.
_COMPLETED = statement("""
    SELECT prediction.id AS prediction_id, video_model,
        coalesce(sent_input, input) - '{prompt,image,video}'::text[] AS values,
        prediction.ended_at,
        extract(epoch FROM now() - prediction.ended_at)::float8 AS ago_seconds,
        extract(epoch FROM prediction.ended_at - accepted_at)::float8 AS age_seconds,
        extract(epoch FROM seen_running_at - accepted_at)::float8 AS running_seconds,
        execution_seconds
    FROM prediction JOIN job ON job.id = job_id
    WHERE prediction.state = 'completed' AND adopted_at IS NULL AND NOT is_duplicate
      AND prediction.ended_at >= coalesce(
        (SELECT max(ended_at) - interval '10 s' FROM finished_render),
        (SELECT ended_at FROM prediction WHERE state = 'completed' AND ended_at IS NOT NULL
            ORDER BY ended_at DESC OFFSET :count LIMIT 1),
        '-infinity')
      AND prediction.ended_at < 'infinity'  -- with a range, the planner does not expect a third of the table
      AND NOT EXISTS (SELECT FROM finished_render WHERE prediction_id = prediction.id)
    ORDER BY prediction.ended_at
    LIMIT :count
""")


def list_completed(session: Session, *, count: int) -> list[CompletedRender]:
    """Completed predictions not yet recorded as finished renders, oldest first; of all of them, the newest `count`."""
    return find_all(session, _COMPLETED, CompletedRender, count=count)


_FINISHED = statement("""
    WITH RECURSIVE kind AS (
        (SELECT video_model, output_seconds FROM finished_render ORDER BY video_model, output_seconds LIMIT 1)
        UNION ALL
        SELECT following.* FROM kind, LATERAL (
            SELECT video_model, output_seconds FROM finished_render
            WHERE (video_model, output_seconds) > (kind.video_model, kind.output_seconds)
            ORDER BY video_model, output_seconds LIMIT 1
        ) AS following
    )
    SELECT kind.video_model, kind.output_seconds, newest.*
    FROM kind, LATERAL (
        SELECT prediction_id, extract(epoch FROM now() - ended_at)::float8 AS ago_seconds, low_seconds, high_seconds
        FROM finished_render
        WHERE video_model = kind.video_model AND output_seconds = kind.output_seconds
        ORDER BY ended_at DESC LIMIT :count
    ) AS newest
""")


def list_finished(session: Session, *, count: int) -> list[KnownRender]:
    """The newest `count` finished renders of each kind, newest first."""
    return find_all(session, _FINISHED, KnownRender, count=count)


_RUNNING = statement("""
    SELECT video_model, values, avg(age)::float8 AS age_seconds, count(*) AS renders
    FROM (
        SELECT video_model, coalesce(sent_input, input) - '{prompt,image,video}'::text[] AS values,
            extract(epoch FROM now() - accepted_at)::float8 AS age
        FROM prediction JOIN job ON job.id = job_id
        WHERE prediction.state = 'rendering' AND adopted_at IS NULL AND NOT is_duplicate AND accepted_at <= now()
    ) AS running
    GROUP BY video_model, values, floor(ln(greatest(age, 0.1)) * 50)
""")


def count_running(session: Session) -> list[RendersInFlight]:
    """Renders in flight by kind and age. Ages within 2 % of each other are grouped."""
    return find_all(session, _RUNNING, RendersInFlight)
