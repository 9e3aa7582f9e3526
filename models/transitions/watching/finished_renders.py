"""Finished renders, derived from other rows for speed. The leader writes them in batches; lost ones are rebuilt."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import statement


class NewFinishedRender(NamedTuple):
    """A finished render to store."""

    prediction_id: UUID
    video_model: str
    output_seconds: int
    ended_at: datetime
    low_seconds: float
    high_seconds: float


_TRIM = statement("""
    DELETE FROM finished_render WHERE prediction_id IN (
        SELECT prediction_id FROM finished_render
        WHERE video_model = :video_model AND output_seconds = :output_seconds
        ORDER BY ended_at DESC OFFSET :keep
        FOR UPDATE SKIP LOCKED)
""")

_RECORD = statement("""
    INSERT INTO finished_render (prediction_id, video_model, output_seconds, ended_at, low_seconds, high_seconds)
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:video_models AS text[]), CAST(:output_seconds AS bigint[]),
        CAST(:ended_at AS timestamptz[]), CAST(:low AS float8[]), CAST(:high AS float8[]))
    ON CONFLICT DO NOTHING
""")


def record_finished(session: Session, renders: Sequence[NewFinishedRender], *, keep: int) -> None:
    """Store these finished renders, and keep the newest `keep` of each kind. Storing one again changes nothing."""
    ordered = sorted(renders)  # the same order everywhere, so that two processes at once cannot deadlock
    columns = [list(column) for column in zip(*ordered, strict=True)] or [[] for _ in NewFinishedRender._fields]
    names = ("ids", "video_models", "output_seconds", "ended_at", "low", "high")
    session.execute(_RECORD, dict(zip(names, columns, strict=True)))
    for video_model, output_seconds in sorted({(each.video_model, each.output_seconds) for each in ordered}):
        values = {"video_model": video_model, "output_seconds": output_seconds, "keep": keep}
        session.execute(_TRIM, values)
