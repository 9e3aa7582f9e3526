"""The store step that copies a video: begin it, renew its lease, and record how it ended."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from models.db.rows import as_json, changed_a_row, find_one, statement
from models.lifecycle import Reason
from models.tables.artifact import Artifact, ArtifactKind
from models.tables.base import new_id

NEWEST_OUTPUT = """LATERAL (
        SELECT * FROM prediction WHERE job_id = job.id AND state = 'completed' AND NOT is_duplicate
        ORDER BY attempt DESC LIMIT 1
    ) AS output"""
"""The newest completed prediction of a job: the job stores its output. For JOIN ... ON true."""


_BEGIN = statement(f"""
    WITH begun AS (
        UPDATE job
        SET begun_at = now(), due_at = now() + :lease, store_attempts = store_attempts + 1
        WHERE id = :job_id AND claim = :claim AND state = 'storing' AND begun_at IS NULL
        RETURNING id, batch_id, number, video_model, input, store_attempts, rechecks
    )
    SELECT job.id, output.id, output.account_id, output.provider_id, output.outputs, batch.name, batch.job_count,
        job.number, job.video_model, job.input, job.store_attempts,
        extract(epoch FROM now() - coalesce(output.seen_running_at, output.ended_at))::float8,
        kept.url, kept.bytes, kept.sha256, kept.suspect, rechecks
    FROM begun AS job
    JOIN {NEWEST_OUTPUT} ON true
    LEFT JOIN batch ON batch.id = job.batch_id
    LEFT JOIN artifact AS kept ON kept.prediction_id = output.id AND kept.kind = 'unverified'
""")  # noqa: S608 - a constant

_RENEW = statement("""
    UPDATE job SET due_at = now() + :lease
    WHERE id = :job_id AND claim = :claim AND state = 'storing'
    RETURNING 1
""")


_DELAY = statement("""
    WITH delayed AS (
        UPDATE job
        SET claim = claim + 1, begun_at = NULL, due_at = now() + :delay,
            error_code = :code, error_message = :message
        WHERE id = :job_id AND claim = :claim AND state = 'storing'
        RETURNING id, store_attempts
    ), logged AS (
        INSERT INTO event (kind, job_id, detail)
        SELECT 'store.delayed', id, jsonb_build_object(
            'attempt', store_attempts, 'code', CAST(:code AS text), 'message', CAST(:message AS text)) FROM delayed
    )
    SELECT 1 FROM delayed
""")

# Crashes in a row are counted from the latest delay, so a delay after this crash ends the row.
_EXCUSE = statement("""
    INSERT INTO event (kind, job_id, detail)
    SELECT 'store.delayed', id, jsonb_build_object(
        'attempt', store_attempts, 'code', CAST(:code AS text), 'message', CAST(:message AS text))
    FROM job
    WHERE id = :job_id AND state = 'storing' AND EXISTS (
        SELECT 1 FROM event AS crash
        WHERE crash.job_id = job.id AND crash.kind = 'store.crashed'
          AND CAST(crash.detail->>'claim' AS bigint) = :claim)
    RETURNING 1
""")

_FAIL = statement("""
    WITH failed AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NULL THEN 'failed' ELSE 'cancelled' END,
            ended_at = now(), due_at = NULL, error_code = :code, error_message = :message, rechecks = false
        WHERE id = :job_id AND claim = :claim AND state = 'storing'
        RETURNING id, state
    ), logged AS (
        INSERT INTO event (kind, job_id, detail)
        SELECT 'job.' || state, id, jsonb_build_object(
            'code', CAST(:code AS text), 'message', CAST(:message AS text)) FROM failed
    )
    SELECT 1 FROM failed
""")

_FINISH = statement("""
    WITH finished AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NULL THEN 'succeeded' ELSE 'cancelled' END,
            ended_at = now(), due_at = NULL, error_code = NULL, error_message = NULL, output_failed_at = NULL,
            rechecks = false
        WHERE id = :job_id AND claim = :claim AND state = 'storing'
        RETURNING id, state
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'job.' || state, id, :prediction_id, :detail FROM finished
    )
    SELECT 1 FROM finished
""")

_REFRESH = statement("""
    UPDATE prediction SET outputs = :outputs WHERE id = :prediction_id AND state = 'completed'
    RETURNING 1
""")


class StoreTicket(NamedTuple):
    """The data that a store step needs."""

    job_id: UUID
    prediction_id: UUID
    account_id: UUID
    provider_id: str
    outputs: list[str]
    batch_name: str | None
    batch_size: int | None
    number: int | None
    video_model: str
    input: dict[str, Any]
    attempt: int
    age_seconds: float  # since the prediction completed, or was last seen running before that
    kept_url: str | None  # an unverified file of an earlier attempt
    kept_bytes: int | None
    kept_sha256: str | None
    kept_suspect: str | None
    rechecks: bool  # probe the kept file instead of a download


class NewArtifact(NamedTuple):
    """A file that is visible now."""

    kind: ArtifactKind
    url: str
    bytes: int
    sha256: str
    container: str | None = None
    seconds: Decimal | None = None
    width: int | None = None
    height: int | None = None
    has_audio: bool | None = None
    content_type: str | None = None
    source: str | None = None
    message: str | None = None
    suspect: str | None = None


def begin_store(session: Session, job_id: UUID, claim: int, *, lease: timedelta) -> StoreTicket | None:
    """Start the step of this claim, once. The attempt is counted before the work begins."""
    return find_one(session, _BEGIN, StoreTicket, job_id=job_id, claim=claim, lease=lease)


def renew_store(session: Session, job_id: UUID, claim: int, *, lease: timedelta) -> bool:
    """Keep the step for another `lease`. Returns False if another worker has taken it over."""
    return changed_a_row(session, _RENEW, job_id=job_id, claim=claim, lease=lease)


def delay_store(session: Session, job_id: UUID, claim: int, *, delay: timedelta, reason: Reason) -> bool:
    """Try again after `delay`."""
    return changed_a_row(session, _DELAY, job_id=job_id, claim=claim, delay=delay, **reason._asdict())


def excuse_store(session: Session, job_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record why the step of this claim looked crashed, after it was taken back. That crash then does not count."""
    return changed_a_row(session, _EXCUSE, job_id=job_id, claim=claim, **reason._asdict())


def fail_store(session: Session, job_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record that the video cannot be stored."""
    return changed_a_row(session, _FAIL, job_id=job_id, claim=claim, **reason._asdict())


def finish_store(
    session: Session,
    job_id: UUID,
    claim: int,
    *,
    prediction_id: UUID,
    artifacts: Sequence[NewArtifact],
    surprises: Sequence[str] = (),
) -> bool:
    """Record the files, which are visible now. The job succeeds, or ends as cancelled if that was requested.

    The video comes first. `surprises` lists how it differs from the request; they are kept in the history.
    """
    video = artifacts[0]
    logged = {"url": video.url, "bytes": video.bytes, "sha256": video.sha256}
    detail = as_json(logged | ({"differs": list(surprises)} if surprises else {}))
    if not changed_a_row(session, _FINISH, job_id=job_id, claim=claim, prediction_id=prediction_id, detail=detail):
        return False
    insert_artifacts(session, artifacts, job_id=job_id, prediction_id=prediction_id)
    return True


def insert_artifacts(session: Session, artifacts: Sequence[NewArtifact], **columns: UUID | bool) -> None:
    """Insert rows for these files. `columns` are the same for all of them."""
    session.execute(insert(Artifact), [{"id": new_id(), **columns, **each._asdict()} for each in artifacts])


def refresh_outputs(session: Session, prediction_id: UUID, *, outputs: Sequence[str]) -> bool:
    """Record the new addresses that the provider gave for the same outputs."""
    return changed_a_row(session, _REFRESH, prediction_id=prediction_id, outputs=as_json(list(outputs)))
