"""What the dispatcher and the steps read."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.statements import find_all, find_one, statement

_ACCOUNT = statement("""
    SELECT id, deferrals, deferred_reason,
        coalesce(extract(epoch FROM deferred_until - now())::float8, 0),
        look_failures,
        coalesce(extract(epoch FROM looks_deferred_until - now())::float8, 0)
    FROM account WHERE name = :name
""")

_WATCHED = statement("""
    SELECT prediction.job_id, prediction.account_id, prediction.state, prediction.claim, provider_id,
        extract(epoch FROM now() - accepted_at)::float8,
        extract(epoch FROM now() - odd_since)::float8,
        watch_windows
    FROM prediction WHERE id = :prediction_id
""")

_RENDERING = """
    SELECT prediction.id, job_id, prediction.claim, extract(epoch FROM now() - accepted_at)::float8,
        watch_windows, video_model, input
    FROM prediction JOIN job ON job.id = job_id
    WHERE prediction.state = 'rendering' AND {which}
"""
_RENDERING_SINCE = statement(_RENDERING.format(which="accepted_at > now() - make_interval(secs => :newer_than)"))
_RENDERING_OF = statement(_RENDERING.format(which="prediction.id = ANY(CAST(:ids AS uuid[]))"))

_STILL_RENDERING = statement("""
    SELECT id, claim FROM prediction WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'rendering'
""")

_UNTIL_DUE = statement("""
    SELECT extract(epoch FROM least(
        (SELECT min(due_at) FROM job WHERE state = 'storing'),
        (SELECT min(due_at) FROM job WHERE state = 'queued' AND due_at > now()),
        (SELECT min(due_at) FROM prediction WHERE state = 'submitting'),
        (SELECT min(due_at) FROM prediction WHERE state = 'rendering'),
        (SELECT min(due_at) FROM prediction WHERE state = 'unconfirmed' AND due_at > now())
    ) - now())::float8
""")

_THREADS = statement("""
    SELECT queue, sum(threads)::int FROM worker, unnest(queues) AS queue
    WHERE seen_at > now() - interval '15 seconds'
    GROUP BY queue
""")


class DispatchAccount(NamedTuple):
    """An account's health as the dispatcher needs it."""

    id: UUID
    deferrals: int
    deferred_reason: str | None
    deferred_seconds: float  # until submissions go on; 0 or less: they do
    look_failures: int
    looks_deferred_seconds: float


class WatchedPrediction(NamedTuple):
    """What a look needs to know of a prediction."""

    job_id: UUID
    account_id: UUID
    state: str
    claim: int
    provider_id: str | None
    age_seconds: float | None  # since it was accepted
    odd_seconds: float | None  # since the provider's answers make no sense
    watch_windows: int


class Rendering(NamedTuple):
    """A render in flight."""

    prediction_id: UUID
    job_id: UUID
    claim: int
    age_seconds: float
    watch_windows: int
    video_model: str
    input: dict[str, Any]


def find_account(session: Session, name: str) -> DispatchAccount | None:
    """The account of this name."""
    return find_one(session, _ACCOUNT, DispatchAccount, name=name)


def find_watched(session: Session, prediction_id: UUID) -> WatchedPrediction | None:
    """The prediction to look at, whatever its state."""
    return find_one(session, _WATCHED, WatchedPrediction, prediction_id=prediction_id)


def list_rendering(session: Session, *, newer_than_seconds: float) -> list[Rendering]:
    """Renders in flight that were accepted in the last so many seconds."""
    return find_all(session, _RENDERING_SINCE, Rendering, newer_than=newer_than_seconds)


def list_rendering_of(session: Session, ids: Iterable[UUID]) -> list[Rendering]:
    """Those of the predictions that still render."""
    return find_all(session, _RENDERING_OF, Rendering, ids=list(ids))


def filter_rendering(session: Session, ids: Iterable[UUID]) -> dict[UUID, int]:
    """Those of the predictions that still render, with their claims."""
    return {row.id: row.claim for row in session.execute(_STILL_RENDERING, {"ids": list(ids)})}


def find_seconds_until_due(session: Session) -> float | None:
    """Seconds until the earliest row is due; negative when one is overdue, None when nothing waits for a time."""
    seconds: float | None = session.execute(_UNTIL_DUE).scalar_one()
    return seconds


def count_threads(session: Session) -> dict[str, int]:
    """Threads of the living workers, by queue."""
    return {row.queue: row.sum for row in session.execute(_THREADS)}
