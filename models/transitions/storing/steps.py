"""The store step that copies a video: begin it, renew its lease, and record how it ended.

A completed prediction with a `due_at` has an output to store. Its job follows: it succeeds, fails or is cancelled with
the step. The job of a duplicate purchase is left alone.
"""

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

TO_STORE = "prediction.state = 'completed' AND prediction.due_at IS NOT NULL"
"""The output of the prediction is still to be stored."""
NEWEST_OUTPUT = """prediction.id = (
        SELECT id FROM prediction AS latest
        WHERE latest.job_id = prediction.job_id AND latest.state = 'completed' AND NOT latest.is_duplicate
        ORDER BY attempt DESC LIMIT 1)"""
"""The prediction is the newest completed one of its job: the job stores its output."""
HAS_NO_VIDEO = """NOT EXISTS (
        SELECT 1 FROM artifact WHERE artifact.job_id = job.id AND kind = 'video' AND NOT artifact.is_duplicate)"""
"""The job has no video of its own yet."""

JOB_ENDS = """moved AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NULL THEN CAST(:ends_as AS text) ELSE 'cancelled' END,
            ended_at = now(), error_code = ended.error_code, error_message = ended.error_message
        FROM ended WHERE job.id = ended.job_id AND job.state = 'storing' AND NOT ended.is_duplicate
        RETURNING job.id, job.state
    )"""
"""CTE: the jobs of the predictions in the CTE `ended` end with them, or as cancelled if that was requested."""
EVENT_KIND = "CASE WHEN ended.is_duplicate THEN CAST(:duplicate_event AS text) ELSE 'job.' || moved.state END"
"""Kind of the event of an end: about the job, or about the duplicate purchase. For `ENDS`."""
ENDS = "ended LEFT JOIN moved ON moved.id = ended.job_id WHERE ended.is_duplicate OR moved.id IS NOT NULL"
"""FROM clause: the ends to record as events."""

STORE_FROM_START = """due_at = now(), begun_at = NULL, claim = prediction.claim + 1, store_attempts = 0,
            store_crashes = 0, output_failed_at = NULL, error_code = NULL, error_message = NULL"""
"""SET clause: the output is stored now, and nothing counts that happened before."""

_LOG_DELAY = """logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'store.delayed', job_id, id, jsonb_build_object(
            'attempt', store_attempts, 'code', CAST(:code AS text), 'message', CAST(:message AS text)) FROM delayed
    )"""

_BEGIN = statement(f"""
    WITH begun AS (
        UPDATE prediction
        SET begun_at = now(), due_at = now() + :lease, store_attempts = store_attempts + 1
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE} AND begun_at IS NULL
        RETURNING *
    )
    SELECT begun.job_id, begun.id, begun.account_id, begun.claim, begun.provider_id, begun.outputs, begun.is_duplicate,
        begun.attempt, batch.name, batch.job_count, job.number, job.video_model, job.input, begun.store_attempts,
        extract(epoch FROM now() - coalesce(begun.seen_running_at, begun.ended_at))::float8,
        kept.url, kept.bytes, kept.sha256, kept.suspect, begun.rechecks
    FROM begun
    JOIN job ON job.id = begun.job_id
    LEFT JOIN batch ON batch.id = job.batch_id
    LEFT JOIN artifact AS kept ON kept.prediction_id = begun.id AND kept.kind = 'unverified'
""")  # noqa: S608 - a constant

_RENEW = statement(f"""
    UPDATE prediction SET due_at = now() + :lease
    WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
    RETURNING 1
""")  # noqa: S608 - a constant

# A delay shows that the worker lives, so it ends a series of crashes.
_DELAY = statement(f"""
    WITH delayed AS (
        UPDATE prediction
        SET claim = claim + 1, begun_at = NULL, due_at = now() + :delay, store_crashes = 0,
            error_code = :code, error_message = :message
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
        RETURNING id, job_id, store_attempts
    ), {_LOG_DELAY}
    SELECT 1 FROM delayed
""")  # noqa: S608 - a constant

_EXCUSE = statement(f"""
    WITH delayed AS (
        UPDATE prediction SET store_crashes = 0, crashed_claim = NULL
        WHERE id = :prediction_id AND crashed_claim = :claim AND {TO_STORE}
        RETURNING id, job_id, store_attempts
    ), {_LOG_DELAY}
    SELECT 1 FROM delayed
""")  # noqa: S608 - a constant

_FAIL = statement(f"""
    WITH ended AS (
        UPDATE prediction
        SET due_at = NULL, rechecks = false, error_code = :code, error_message = :message
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
        RETURNING id, job_id, is_duplicate, error_code, error_message
    ), {JOB_ENDS}, logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT {EVENT_KIND}, job_id, ended.id, jsonb_build_object(
            'code', CAST(:code AS text), 'message', CAST(:message AS text))
        FROM {ENDS}
    )
    SELECT 1 FROM ended
""")  # noqa: S608 - constants

_FINISH = statement(f"""
    WITH ended AS (
        UPDATE prediction
        SET due_at = NULL, rechecks = false, output_failed_at = NULL,
            error_code = NULL, error_message = NULL
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
        RETURNING id, job_id, is_duplicate, error_code, error_message
    ), {JOB_ENDS}, logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT {EVENT_KIND}, job_id, ended.id, :detail
        FROM {ENDS}
    )
    SELECT job_id, is_duplicate FROM ended
""")  # noqa: S608 - constants

_REFRESH = statement("""
    UPDATE prediction SET outputs = :outputs WHERE id = :prediction_id AND state = 'completed'
    RETURNING 1
""")

ENDS_AS_FAILED = {"ends_as": "failed", "duplicate_event": "duplicate.not_stored"}
_ENDS_AS_SUCCEEDED = {"ends_as": "succeeded", "duplicate_event": "duplicate.stored"}


class StoreTicket(NamedTuple):
    """The data that a store step needs. `prediction_id` and `claim` are the right to record how it ended."""

    job_id: UUID
    prediction_id: UUID
    account_id: UUID
    claim: int
    provider_id: str
    outputs: list[str]
    is_duplicate: bool  # its file is kept apart from the job's own
    purchase: int  # its number among the purchases of its job, from 1
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


def begin_store(session: Session, prediction_id: UUID, claim: int, *, lease: timedelta) -> StoreTicket | None:
    """Start the step of this claim, once. The attempt is counted before the work begins."""
    return find_one(session, _BEGIN, StoreTicket, prediction_id=prediction_id, claim=claim, lease=lease)


def renew_store(session: Session, prediction_id: UUID, claim: int, *, lease: timedelta) -> bool:
    """Keep the step for another `lease`. Returns False if another worker has taken it over."""
    return changed_a_row(session, _RENEW, prediction_id=prediction_id, claim=claim, lease=lease)


def delay_store(session: Session, prediction_id: UUID, claim: int, *, delay: timedelta, reason: Reason) -> bool:
    """Try again after `delay`."""
    return changed_a_row(session, _DELAY, prediction_id=prediction_id, claim=claim, delay=delay, **reason._asdict())


def excuse_store(session: Session, prediction_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record why the step of this claim looked crashed, after it was taken back. That crash then does not count."""
    return changed_a_row(session, _EXCUSE, prediction_id=prediction_id, claim=claim, **reason._asdict())


def fail_store(session: Session, prediction_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record that the video cannot be stored: the job fails, or ends as cancelled if that was requested."""
    values = {"prediction_id": prediction_id, "claim": claim, **ENDS_AS_FAILED}
    return changed_a_row(session, _FAIL, **values, **reason._asdict())


def finish_store(
    session: Session,
    prediction_id: UUID,
    claim: int,
    *,
    artifacts: Sequence[NewArtifact],
    surprises: Sequence[str] = (),
) -> bool:
    """Record the files, which are visible now. The job succeeds, or ends as cancelled if that was requested.

    The video comes first. `surprises` lists how it differs from the request; they are kept in the history.
    """
    video = artifacts[0]
    logged = {"url": video.url, "bytes": video.bytes, "sha256": video.sha256}
    detail = as_json(logged | ({"differs": list(surprises)} if surprises else {}))
    values = {"prediction_id": prediction_id, "claim": claim, "detail": detail, **_ENDS_AS_SUCCEEDED}
    finished = session.execute(_FINISH, values).one_or_none()
    if finished is None:
        return False
    owner = {"prediction_id": prediction_id, **finished._mapping}
    session.execute(insert(Artifact), [{"id": new_id(), **owner, **each._asdict()} for each in artifacts])
    return True


def refresh_outputs(session: Session, prediction_id: UUID, *, outputs: Sequence[str]) -> bool:
    """Record the new addresses that the provider gave for the same outputs."""
    return changed_a_row(session, _REFRESH, prediction_id=prediction_id, outputs=as_json(list(outputs)))
