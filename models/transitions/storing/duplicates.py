"""Store the video of a duplicate purchase: one found after it was marked not found or refused, so paid for in addition
to another. Its job is left alone. `due_at` is when to fetch its video.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, changed_a_row, find_all, find_one, statement
from models.lifecycle import Reason
from models.transitions.storing.claims import MAX_STORE_CRASHES
from models.transitions.storing.steps import NewArtifact, insert_artifacts

# An attempt is counted when it begins and recorded as an event when it ends. An attempt without an event killed or
# froze its worker.
_QUARANTINE = statement("""
    WITH crashed AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE is_duplicate AND state = 'completed' AND due_at <= now()
          AND store_attempts - (
              SELECT count(*) FROM event
              WHERE event.job_id = prediction.job_id AND prediction_id = prediction.id AND kind = 'duplicate.delayed'
          ) >= :most
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ), quarantined AS (
        UPDATE prediction
        SET due_at = NULL, claim = claim + 1, error_code = 'store_killed_worker',
            error_message = 'the worker that fetched it crashed ' || CAST(:most AS text) || ' times'
        FROM crashed WHERE prediction.id = crashed.id
        RETURNING prediction.id, job_id, error_code, error_message, store_attempts
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'duplicate.not_stored', job_id, id, jsonb_build_object(
            'code', error_code, 'message', error_message, 'attempts', store_attempts) FROM quarantined
    )
    SELECT id FROM quarantined
""")

_CLAIM = statement("""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE is_duplicate AND state = 'completed' AND due_at <= now()
        ORDER BY due_at
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    )
    UPDATE prediction SET claim = claim + 1, due_at = now() + :lease
    FROM due WHERE prediction.id = due.id
    RETURNING prediction.id, job_id, claim
""")

# The claim grows here too, so that a second message of the same claim begins nothing.
_BEGIN = statement("""
    WITH begun AS (
        UPDATE prediction
        SET claim = claim + 1, due_at = now() + :lease, store_attempts = store_attempts + 1
        WHERE id = :prediction_id AND claim = :claim AND is_duplicate AND state = 'completed'
          AND due_at IS NOT NULL
        RETURNING id, job_id, account_id, claim, provider_id, outputs, attempt, store_attempts, accepted_at
    )
    SELECT begun.id, begun.job_id, begun.account_id, begun.claim, provider_id, outputs, attempt, batch.name,
        batch.job_count, job.number, job.video_model, job.input, begun.store_attempts,
        extract(epoch FROM now() - begun.accepted_at)::float8, kept.url, kept.bytes, kept.sha256, kept.suspect
    FROM begun JOIN job ON job.id = begun.job_id LEFT JOIN batch ON batch.id = job.batch_id
    LEFT JOIN artifact AS kept ON kept.prediction_id = begun.id AND kept.kind = 'unverified'
""")

_RENEW = statement("""
    UPDATE prediction SET due_at = now() + :lease
    WHERE id = :prediction_id AND claim = :claim AND is_duplicate AND state = 'completed' AND due_at IS NOT NULL
    RETURNING 1
""")

_DELAY = statement("""
    WITH delayed AS (
        UPDATE prediction
        SET claim = claim + 1, due_at = now() + :delay, error_code = :code, error_message = :message
        WHERE id = :prediction_id AND claim = :claim AND is_duplicate AND state = 'completed'
          AND due_at IS NOT NULL
        RETURNING id, job_id, store_attempts
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'duplicate.delayed', job_id, id, jsonb_build_object('attempt', store_attempts,
            'claim', CAST(:claim AS bigint), 'code', CAST(:code AS text), 'message', CAST(:message AS text))
        FROM delayed
    )
    SELECT 1 FROM delayed
""")

# If a step began, no event mentions it and a later claim goes on, the step counts as crashed.
_EXCUSE = statement("""
    INSERT INTO event (kind, job_id, prediction_id, detail)
    SELECT 'duplicate.delayed', job_id, id, jsonb_build_object('attempt', store_attempts,
        'claim', CAST(:claim AS bigint), 'code', CAST(:code AS text), 'message', CAST(:message AS text))
    FROM prediction
    WHERE id = :prediction_id AND claim > :claim AND is_duplicate AND state = 'completed'
      AND due_at IS NOT NULL
      AND NOT EXISTS (
          SELECT 1 FROM event
          WHERE event.job_id = prediction.job_id AND prediction_id = prediction.id AND kind = 'duplicate.delayed'
            AND CAST(detail->>'claim' AS bigint) = :claim)
    RETURNING 1
""")

_FAIL = statement("""
    WITH failed AS (
        UPDATE prediction
        SET claim = claim + 1, due_at = NULL, error_code = :code, error_message = :message
        WHERE id = :prediction_id AND claim = :claim AND is_duplicate AND state = 'completed'
          AND due_at IS NOT NULL
        RETURNING id, job_id
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'duplicate.not_stored', job_id, id, jsonb_build_object(
            'code', CAST(:code AS text), 'message', CAST(:message AS text)) FROM failed
    )
    SELECT 1 FROM failed
""")

_FINISH = statement("""
    WITH finished AS (
        UPDATE prediction
        SET claim = claim + 1, due_at = NULL, error_code = NULL, error_message = NULL
        WHERE id = :prediction_id AND claim = :claim AND is_duplicate AND state = 'completed'
          AND due_at IS NOT NULL
        RETURNING id, job_id
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'duplicate.stored', job_id, id, :detail FROM finished
    )
    SELECT job_id FROM finished
""")


class ClaimedDuplicate(NamedTuple):
    """A claimed fetch of a duplicate purchase's video, to be published."""

    prediction_id: UUID
    job_id: UUID
    claim: int


class DuplicateTicket(NamedTuple):
    """The data that a worker needs to fetch a duplicate purchase's video. Its transitions take this `claim`, not the
    message's."""

    prediction_id: UUID
    job_id: UUID
    account_id: UUID
    claim: int
    provider_id: str
    outputs: list[str]
    purchase: int  # its number among the purchases of its job, from 1
    batch_name: str | None
    batch_size: int | None
    number: int | None
    video_model: str
    input: dict[str, Any]
    attempt: int
    age_seconds: float  # since we learned its provider id
    kept_url: str | None  # an unverified file of an earlier attempt
    kept_bytes: int | None
    kept_sha256: str | None
    kept_suspect: str | None
    rechecks: bool = False


def quarantine_duplicate_stores(session: Session, *, count: int) -> int:
    """Give up the duplicate purchases that crashed their worker `MAX_STORE_CRASHES` times. Returns how many."""
    return len(session.execute(_QUARANTINE, {"count": count, "most": MAX_STORE_CRASHES}).all())


def claim_duplicate_stores(session: Session, *, count: int, lease: timedelta) -> list[ClaimedDuplicate]:
    """Claim the duplicate purchases with a video to fetch. If the worker dies, one is due again after its lease."""
    return find_all(session, _CLAIM, ClaimedDuplicate, count=count, lease=lease)


def begin_duplicate_store(
    session: Session, prediction_id: UUID, claim: int, *, lease: timedelta
) -> DuplicateTicket | None:
    """Start the step of this claim, once. The attempt is counted before the work begins."""
    return find_one(session, _BEGIN, DuplicateTicket, prediction_id=prediction_id, claim=claim, lease=lease)


def renew_duplicate_store(session: Session, prediction_id: UUID, claim: int, *, lease: timedelta) -> bool:
    """Keep the step for another `lease`. Returns False if another worker has taken it over."""
    return changed_a_row(session, _RENEW, prediction_id=prediction_id, claim=claim, lease=lease)


def delay_duplicate_store(
    session: Session, prediction_id: UUID, claim: int, *, delay: timedelta, reason: Reason
) -> bool:
    """Try again after `delay`."""
    values = {"prediction_id": prediction_id, "claim": claim} | reason._asdict()
    return changed_a_row(session, _DELAY, delay=delay, **values)


def excuse_duplicate_store(session: Session, prediction_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record why a step looked crashed although its worker lives, after another worker has claimed it.

    `claim` is the one from its ticket. Returns True for the first excuse: that crash then does not count towards
    quarantine.
    """
    values = {"prediction_id": prediction_id, "claim": claim} | reason._asdict()
    return changed_a_row(session, _EXCUSE, **values)


def fail_duplicate_store(session: Session, prediction_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record that its video cannot be stored."""
    values = {"prediction_id": prediction_id, "claim": claim} | reason._asdict()
    return changed_a_row(session, _FAIL, **values)


def finish_duplicate_store(
    session: Session, prediction_id: UUID, claim: int, *, artifacts: Sequence[NewArtifact]
) -> bool:
    """Record its files, which are visible now; the video comes first. They are kept apart from the job's own files."""
    video = artifacts[0]
    detail = as_json({"stored_as": video.url, "bytes": video.bytes, "sha256": video.sha256})
    values = {"prediction_id": prediction_id, "claim": claim, "detail": detail}
    job_id = session.execute(_FINISH, values).scalar_one_or_none()
    if job_id is None:
        return False
    insert_artifacts(session, artifacts, job_id=job_id, prediction_id=prediction_id, is_duplicate=True)
    return True
