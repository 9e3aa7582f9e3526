"""Uploads: keep them, send each to the provider before a submission needs it, and remove those that no job uses."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import JOB_PLACE, find_all, find_one, statement
from models.lifecycle import JobState, Reason
from models.transitions.history import refusal
from models.transitions.job_release import EndedAttempt, release_job

UNUSED_KEPT = timedelta(days=1)
"""An upload that no job uses is kept this long after a caller last sent or named it, so that a push can follow."""


class NewUpload(NamedTuple):
    """A file to keep."""

    sha256: str
    content_type: str
    content: bytes


class KeptUpload(NamedTuple):
    """A kept file, without its bytes."""

    sha256: str
    content_type: str
    size: int


_KEEP = statement("""
    WITH kept AS (
        INSERT INTO upload (sha256, content_type, content) VALUES (:sha256, :content_type, :content)
        ON CONFLICT (sha256) DO UPDATE SET used_at = now()
        RETURNING sha256
    )
    INSERT INTO upload_owner (sha256, tenant_id) SELECT sha256, :tenant_id FROM kept ON CONFLICT DO NOTHING
""")


def keep_uploads(session: Session, new_uploads: Iterable[NewUpload], *, tenant_id: UUID) -> None:
    """Store files, once per content, in the order of their SHA-256, so that two pushes cannot deadlock."""
    for each in sorted(new_uploads):
        session.execute(_KEEP, {**each._asdict(), "tenant_id": tenant_id})


_USE = statement("""
    WITH found AS MATERIALIZED (
        SELECT sha256 FROM upload
        WHERE sha256 = ANY(CAST(:names AS text[]))
          AND EXISTS (SELECT 1 FROM upload_owner AS owner WHERE owner.sha256 = upload.sha256 AND tenant_id = :tenant_id)
        ORDER BY sha256 FOR NO KEY UPDATE
    )
    UPDATE upload SET used_at = now() FROM found WHERE upload.sha256 = found.sha256
    RETURNING upload.sha256, content_type, length(content) AS size
""")


def use_uploads(session: Session, names: Iterable[str], *, tenant_id: UUID) -> list[KeptUpload]:
    """Return the uploads with these SHA-256 that the tenant has sent.

    They stay until the transaction ends, and for another day.
    """
    return find_all(session, _USE, KeptUpload, names=list(names), tenant_id=tenant_id)


class UploadUse(NamedTuple):
    """An upload that a new job uses. `place` is the job's among the new ones, from 0; problems begin with `field`."""

    place: int
    field: str
    video_model: str
    parameter: str
    sha256: str


class UploadTicket(NamedTuple):
    """The right to send a file to the provider. Without `content`, another submission is sending it."""

    prediction_id: UUID
    account_id: UUID
    sha256: str
    content_type: str
    content: bytes | None
    failures: int  # earlier submissions of the job whose file could not be sent
    place: str  # BATCH/NUMBER, else the job's id
    video_model: str


_BEGIN = statement(f"""
    WITH missing AS (
        SELECT prediction.id, job_id, account_id, job_upload.sha256, content_type
        FROM prediction JOIN job_upload USING (job_id) JOIN upload USING (sha256)
            LEFT JOIN sent_upload AS sent USING (account_id, sha256)
        WHERE prediction.id = :prediction_id AND claim = :claim AND state = 'submitting' AND posted_at IS NULL
          AND (sent.url IS NULL OR sent.sent_at < now() - CAST(:usable AS interval))
        ORDER BY sha256
        LIMIT 1
    ), taken AS (
        INSERT INTO sent_upload AS sent (account_id, sha256, busy_until)
        SELECT account_id, sha256, now() + CAST(:lease AS interval) FROM missing
        ON CONFLICT (account_id, sha256) DO UPDATE SET busy_until = excluded.busy_until
            WHERE sent.busy_until <= clock_timestamp()  -- not now(): the sender may have ended since this began
        RETURNING sha256
    ), held AS (
        UPDATE prediction SET not_before = NULL, due_at = now() + CAST(:lease AS interval)
        FROM missing WHERE prediction.id = missing.id
    )
    SELECT id AS prediction_id, account_id, missing.sha256, content_type,
        (SELECT content FROM upload JOIN taken USING (sha256)) AS content,
        (SELECT count(*) FROM prediction AS earlier
            WHERE earlier.job_id = missing.job_id AND state = 'refused' AND posted_at IS NULL) AS failures,
        {JOB_PLACE}, (SELECT video_model FROM job WHERE job.id = missing.job_id) AS video_model
    FROM missing
""")


def begin_upload(
    session: Session, prediction_id: UUID, claim: int, *, usable: timedelta, lease: timedelta
) -> UploadTicket | None:
    """Claim the first file that the submission needs and of which the provider has no copy younger than `usable`.

    The submission keeps its slot for the lease and gives its rate slot back. Returns None if no file is missing.
    """
    values = {"prediction_id": prediction_id, "claim": claim, "usable": usable, "lease": lease}
    return find_one(session, _BEGIN, UploadTicket, **values)


_FINISH = statement("""
    WITH sent AS (
        UPDATE sent_upload SET url = coalesce(CAST(:url AS text), url),
            sent_at = CASE WHEN CAST(:url AS text) IS NULL THEN sent_at ELSE now() END, busy_until = now()
        WHERE account_id = :account_id AND sha256 = :sha256
        RETURNING account_id, sha256
    )
    UPDATE prediction SET due_at = now()
    FROM sent JOIN job_upload USING (sha256)
    WHERE prediction.job_id = job_upload.job_id AND prediction.account_id = sent.account_id
      AND state = 'submitting' AND posted_at IS NULL AND not_before IS NULL
""")


def finish_upload(session: Session, account_id: UUID, sha256: str, *, url: str | None) -> None:
    """Record the file's address at the provider; without `url`, that it was not sent. Waiting submissions continue."""
    session.execute(_FINISH, {"account_id": account_id, "sha256": sha256, "url": url})


_REFUSE = refusal("state = 'submitting' AND posted_at IS NULL")


def refuse_upload(
    session: Session, prediction_id: UUID, claim: int, *, reason: Reason, retry_in: timedelta | None
) -> bool:
    """End a submission whose file was refused or could not be sent: nothing was posted, so nothing was bought.

    The job is queued again after `retry_in`, without using an attempt. Without `retry_in` it fails.
    """
    claimed = {"prediction_id": prediction_id, "claim": claim}
    refused = find_one(session, _REFUSE, EndedAttempt, **claimed, **reason._asdict())
    if refused is None:
        return False
    outcome = JobState.FAILED if retry_in is None else JobState.QUEUED
    release_job(session, refused, outcome, reason=reason, delay=retry_in or timedelta(0))
    return True


_SEND_AGAIN = statement("""
    UPDATE sent_upload SET url = NULL FROM job_upload
    WHERE job_id = ANY(CAST(:ids AS uuid[])) AND sent_upload.sha256 = job_upload.sha256
""")


def send_again(session: Session, ids: Sequence[UUID]) -> None:
    """Make the files of these jobs be sent again, because the provider may have lost them."""
    session.execute(_SEND_AGAIN, {"ids": ids})


_REPLACE = statement("""
    WITH replaced AS (DELETE FROM job_upload WHERE job_id = :job_id AND parameter <> ALL(CAST(:parameters AS text[])))
    INSERT INTO job_upload (job_id, parameter, sha256)
    SELECT :job_id, * FROM unnest(CAST(:parameters AS text[]), CAST(:names AS text[]))
    ON CONFLICT (job_id, parameter) DO UPDATE SET sha256 = excluded.sha256
""")


def replace_uses(session: Session, job_id: UUID, uses: Mapping[str, str]) -> None:
    """Set the uploads that a job uses, by parameter."""
    values = {"job_id": job_id, "parameters": list(uses), "names": list(uses.values())}
    session.execute(_REPLACE, values)


_REMOVE = statement("""
    WITH unused AS MATERIALIZED (
        SELECT sha256 FROM upload
        WHERE used_at < now() - CAST(:kept AS interval)
          AND NOT EXISTS (SELECT 1 FROM job_upload WHERE job_upload.sha256 = upload.sha256)
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    )
    DELETE FROM upload USING unused WHERE upload.sha256 = unused.sha256 RETURNING 1
""")


def remove_unused(session: Session, *, count: int) -> int:
    """Remove uploads that no job uses any more. Returns how many."""
    return len(session.execute(_REMOVE, {"kept": UNUSED_KEPT, "count": count}).all())
