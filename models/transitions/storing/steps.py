"""The store step that copies a video: begin it, renew its lease, and record how it ended.

A completed prediction with a `due_at` has an output to store. Its job follows: it succeeds, fails or is cancelled with
the step. The job of a duplicate purchase is left alone.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, changed_a_row, find_one, statement
from models.lifecycle import JobState, Reason
from models.tables.access import DEFAULT_TENANT_NAME
from models.tables.artifact import ArtifactKind
from models.tables.base import new_id
from models.transitions.history import append_event, fields, log
from models.transitions.job_release import EndedAttempt, release_job

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

ARRIVAL_IS_NEWS = """(outputs_failing_since IS NOT NULL OR outputs_reached_at IS NULL
            OR outputs_reached_at < greatest(outputs_failed_at, now() - interval '1 second'))"""
"""An account's row has to record that a file has arrived. While nothing fails, at most once per second."""

STORE_FROM_START = """due_at = now(), begun_at = NULL, claim = prediction.claim + 1, store_attempts = 0,
            store_crashes = 0, output_failed_at = NULL, error_code = NULL, error_message = NULL"""
"""SET clause: store the output now, and reset the counts and errors of earlier attempts."""


class StoreTicket(NamedTuple):
    """The data that a store step needs. Whoever has `prediction_id` and the current `claim` may record how it ended."""

    job_id: UUID
    prediction_id: UUID
    account_id: UUID
    claim: int
    provider_id: str
    outputs: list[str]
    is_duplicate: bool  # its file is kept apart from the job's own
    purchase: int  # its number among the purchases of its job, from 1
    tenant: str
    batch_name: str | None
    batch_size: int | None
    number: int | None
    file_stem: str | None  # from the caller's own id
    video_model: str
    input: dict[str, Any]
    attempt: int
    age_seconds: float  # since the prediction completed, or was last seen running before that
    kept_url: str | None  # an unverified file of an earlier attempt
    kept_bytes: int | None
    kept_sha256: str | None
    kept_suspect: str | None
    rechecks: bool  # probe the kept file instead of a download
    store_marker: str | None  # identifies the folder for videos

    @property
    def place(self) -> str:
        """What `JOB_PLACE` selects."""
        prefix = "" if self.tenant == DEFAULT_TENANT_NAME else f"{self.tenant}:"
        return f"{prefix}{self.batch_name}/{self.number}" if self.batch_name else str(self.job_id)


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


# The files of a batch that was opened keep their names while it grows: their numbers have six digits at least.
_SIZE = "CASE WHEN sealed_at = batch.created_at THEN job_count ELSE greatest(job_count, 100000) END"
_TICKET = f"""SELECT begun.job_id, begun.id AS prediction_id, begun.account_id, begun.claim, begun.provider_id,
        begun.outputs, begun.is_duplicate, begun.attempt AS purchase, begun.store_attempts AS attempt, begun.rechecks,
        tenant.name AS tenant, batch.name AS batch_name, {_SIZE} AS batch_size, job.number, job.file_stem,
        job.video_model, coalesce(begun.sent_input, job.input) AS input,
        (SELECT store_marker FROM account WHERE id = begun.account_id) AS store_marker,
        extract(epoch FROM now() - coalesce(begun.seen_running_at, begun.ended_at))::float8 AS age_seconds,
        kept.url AS kept_url, kept.bytes AS kept_bytes, kept.sha256 AS kept_sha256, kept.suspect AS kept_suspect
    FROM begun
    JOIN job ON job.id = begun.job_id
    JOIN tenant ON tenant.id = job.tenant_id
    LEFT JOIN batch ON batch.id = job.batch_id
    LEFT JOIN artifact AS kept ON kept.prediction_id = begun.id AND kept.kind = 'unverified'"""

_BEGIN = statement(f"""
    WITH begun AS (
        UPDATE prediction
        SET begun_at = now(), due_at = now() + :lease, store_attempts = store_attempts + 1
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE} AND begun_at IS NULL
        RETURNING *
    )
    {_TICKET}
""")


def begin_store(session: Session, prediction_id: UUID, claim: int, *, lease: timedelta) -> StoreTicket | None:
    """Start the step of this claim, once. The attempt is counted before the work begins."""
    return find_one(session, _BEGIN, StoreTicket, prediction_id=prediction_id, claim=claim, lease=lease)


# The dispatcher alone claims crashed steps and rechecks, and all downloads during an outage: their order matters.
_BEGIN_NEXT = statement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM prediction
        WHERE {TO_STORE} AND due_at <= now() AND begun_at IS NULL AND store_crashes = 0 AND NOT rechecks
          AND NOT EXISTS (SELECT 1 FROM account WHERE outputs_failing_since IS NOT NULL)
        ORDER BY due_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ), begun AS (
        UPDATE prediction
        SET claim = claim + 1, begun_at = now(), due_at = now() + :lease, store_attempts = store_attempts + 1
        FROM due WHERE prediction.id = due.id
        RETURNING prediction.*
    )
    {_TICKET}
""")


def begin_next_store(session: Session, *, lease: timedelta) -> StoreTicket | None:
    """Claim the next due download and start its step at once. None if none is due, or the dispatcher has to choose."""
    return find_one(session, _BEGIN_NEXT, StoreTicket, lease=lease)


_RENEW = statement(f"""
    UPDATE prediction SET due_at = now() + :lease
    WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
    RETURNING 1
""")


def renew_store(session: Session, prediction_id: UUID, claim: int, *, lease: timedelta) -> bool:
    """Keep the step for another `lease`. Returns False if another worker has taken it over."""
    return changed_a_row(session, _RENEW, prediction_id=prediction_id, claim=claim, lease=lease)


_LOG_DELAY = log("'store.delayed'", "delayed", fields("code", "message", attempt="store_attempts"))

# A delay shows that the worker lives, so it ends a series of crashes.
_DELAY = statement(f"""
    WITH delayed AS (
        UPDATE prediction
        SET claim = claim + 1, begun_at = NULL, due_at = now() + :delay, store_crashes = 0,
            error_code = :code, error_message = :message
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
        RETURNING id, job_id, account_id, store_attempts
    ), {_LOG_DELAY}
    SELECT 1 FROM delayed
""")


def delay_store(session: Session, prediction_id: UUID, claim: int, *, delay: timedelta, reason: Reason) -> bool:
    """Try again after `delay`."""
    return changed_a_row(session, _DELAY, prediction_id=prediction_id, claim=claim, delay=delay, **reason._asdict())


_EXCUSE = statement(f"""
    WITH delayed AS (
        UPDATE prediction SET store_crashes = 0
        WHERE id = :prediction_id AND claim > :claim AND store_crashes > 0 AND {TO_STORE}
        RETURNING id, job_id, account_id, store_attempts
    ), {_LOG_DELAY}
    SELECT 1 FROM delayed
""")


def excuse_store(session: Session, prediction_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record why the step of this claim only looked crashed, although a newer claim has already replaced it.

    The crashes until now do not count.
    """
    return changed_a_row(session, _EXCUSE, prediction_id=prediction_id, claim=claim, **reason._asdict())


_FAIL = statement(f"""
    UPDATE prediction
    SET due_at = NULL, rechecks = false, error_code = :code, error_message = :message
    WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
    RETURNING id AS prediction_id, job_id, is_duplicate
""")


def fail_store(session: Session, prediction_id: UUID, claim: int, *, reason: Reason) -> bool:
    """Record that the video cannot be stored: the job fails, or ends as cancelled if that was requested."""
    claimed = {"prediction_id": prediction_id, "claim": claim}
    ended = find_one(session, _FAIL, EndedAttempt, **claimed, **reason._asdict())
    if ended is not None:
        fail_job(session, ended, reason)
    return ended is not None


def fail_job(session: Session, ended: EndedAttempt, reason: Reason, **detail: object) -> None:
    """Let the job fail because its video cannot be stored. For a duplicate purchase, only an event says so."""
    explained = {**reason._asdict(), **detail}
    if ended.is_duplicate:
        _log_duplicate(session, "duplicate.not_stored", ended, explained)
    release_job(session, ended, JobState.FAILED, reason=reason, detail=explained)


def _log_duplicate(session: Session, kind: str, ended: EndedAttempt, detail: dict[str, Any]) -> None:
    append_event(session, kind, detail, job_id=ended.job_id, prediction_id=ended.prediction_id)


class FinishedStore(NamedTuple):
    """A store step whose files have just been recorded."""

    prediction_id: UUID
    job_id: UUID
    is_duplicate: bool
    is_news: bool  # that a file has arrived: `output_host.note_output_reached` would write


_FINISH = statement(f"""
    WITH ended AS (
        UPDATE prediction
        SET due_at = NULL, rechecks = false, output_failed_at = NULL, error_code = NULL, error_message = NULL
        WHERE id = :prediction_id AND claim = :claim AND {TO_STORE}
        RETURNING id AS prediction_id, job_id, is_duplicate, account_id
    ), dropped AS (
        DELETE FROM artifact USING ended WHERE artifact.prediction_id = ended.prediction_id AND kind = 'unverified'
    ), added AS (
        INSERT INTO artifact
            (id, job_id, prediction_id, is_duplicate, kind, url, bytes, sha256, container, seconds, width, height,
            has_audio)
        SELECT file.id, job_id, prediction_id, is_duplicate, kind, url, bytes, sha256, container, seconds, width,
            height, has_audio
        FROM ended, jsonb_to_recordset(CAST(:files AS jsonb)) AS file (
            id uuid, kind text, url text, bytes bigint, sha256 text, container text, seconds numeric, width int,
            height int, has_audio boolean)
    )
    SELECT prediction_id, job_id, is_duplicate, {ARRIVAL_IS_NEWS} AS is_news
    FROM ended JOIN account ON account.id = account_id
""")


def finish_store(
    session: Session,
    prediction_id: UUID,
    claim: int,
    *,
    artifacts: Sequence[NewArtifact],
    surprises: Sequence[str] = (),
) -> FinishedStore | None:
    """Record the files, which are visible now. The job succeeds, or ends as cancelled if that was requested.

    The video comes first. `surprises` lists how it differs from the request; they are kept in the history. The row of
    an unverified file is deleted; the caller removes the file after the commit.
    """
    files = json.dumps([{"id": new_id(), **each._asdict()} for each in artifacts], default=str)
    finished = find_one(session, _FINISH, FinishedStore, prediction_id=prediction_id, claim=claim, files=files)
    if finished is None:
        return None
    ended = EndedAttempt(finished.prediction_id, finished.job_id, finished.is_duplicate)
    video = artifacts[0]
    detail = {"url": video.url, "bytes": video.bytes, "sha256": video.sha256}
    if surprises:
        detail["differs"] = list(surprises)
    if ended.is_duplicate:
        _log_duplicate(session, "duplicate.stored", ended, detail)
    release_job(session, ended, JobState.SUCCEEDED, detail=detail)
    return finished


_REFRESH = statement("""
    UPDATE prediction SET outputs = :outputs WHERE id = :prediction_id AND state = 'completed'
    RETURNING 1
""")


def refresh_outputs(session: Session, prediction_id: UUID, *, outputs: Sequence[str]) -> bool:
    """Record the new addresses that the provider gave for the same outputs."""
    return changed_a_row(session, _REFRESH, prediction_id=prediction_id, outputs=as_json(list(outputs)))
