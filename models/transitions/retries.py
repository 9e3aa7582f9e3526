"""Retries of ended jobs: each is bought again, fetches its paid output, or gets the file of a duplicate purchase."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, statement
from models.lifecycle import JobState
from models.transitions.batches.endings import hold_batches_of, take_back_ends
from models.transitions.history import BY, fields, log
from models.transitions.job_release import ATTEMPTS, follow_duplicates
from models.transitions.storing.steps import HAS_NO_VIDEO, NEWEST_OUTPUT, STORE_FROM_START
from models.transitions.uploads import replace_uses, send_again


class NewInput(NamedTuple):
    """The whole input of a job that is retried, already checked and priced, and the values that it replaces."""

    input: dict[str, Any]
    price: Decimal
    uploads: Mapping[str, str]
    replaced: Mapping[str, Any]


_FORGET_CRASHES = statement("""
    UPDATE prediction SET submit_crashed = false FROM job
    WHERE job_id = ANY(CAST(:ids AS uuid[])) AND submit_crashed
      AND job.id = job_id AND job.state IN ('failed', 'cancelled')
""")


def _forget_crashes(session: Session, job_ids: Sequence[UUID]) -> None:
    session.execute(_FORGET_CRASHES, {"ids": job_ids})


# The provider's list shows the input that a prediction was sent with. The file of an earlier input is not the job's
# video.
_KEEP_SENT = statement("""
    UPDATE prediction SET sent_input = coalesce(sent_input, job.input), is_outdated = true
    FROM job
    WHERE job_id = ANY(CAST(:ids AS uuid[])) AND job.id = job_id AND job.state IN ('failed', 'cancelled')
""")


def _keep_sent_inputs(session: Session, job_ids: Sequence[UUID]) -> None:
    session.execute(_KEEP_SENT, {"ids": job_ids})


_REPLACED = "input = coalesce(CAST(:input AS jsonb), input), price = coalesce(CAST(:price AS numeric), price)"
_DETAIL = f"{BY} || {fields(state='state')} || CAST(:replaced AS jsonb)"

_RETRY = statement(f"""
    WITH paid AS MATERIALIZED (  -- the lock keeps a recheck out, also if the output is gone
        SELECT prediction.id, job.error_code IS DISTINCT FROM 'output_gone' AS may_be_there
        FROM prediction JOIN job ON job.id = prediction.job_id
        WHERE job_id = ANY(CAST(:ids AS uuid[])) AND job.state IN ('failed', 'cancelled') AND {HAS_NO_VIDEO}
          AND prediction.state = 'completed' AND {NEWEST_OUTPUT}
        ORDER BY job.id
        FOR UPDATE OF prediction
    ), fetched AS (  -- a paid output is downloaded, and not bought again
        UPDATE prediction
        SET {STORE_FROM_START}, output_releases = 0, output_warned_at = NULL, rechecks = false
        FROM paid WHERE prediction.id = paid.id AND may_be_there AND due_at IS NULL
        RETURNING prediction.job_id
    ), retried AS (  -- with as many further attempts as it has had
        UPDATE job
        SET state = CASE WHEN fetched.job_id IS NULL THEN 'queued' ELSE 'storing' END,
            due_at = CASE WHEN fetched.job_id IS NULL THEN now() END,
            ended_at = NULL, cancel_requested_at = NULL, paused_at = NULL, error_code = NULL, error_message = NULL,
            max_attempts = least(20, max_attempts + {ATTEMPTS}), {_REPLACED}
        FROM unnest(CAST(:ids AS uuid[])) AS wanted (id) LEFT JOIN fetched ON fetched.job_id = wanted.id
        WHERE job.id = wanted.id AND state IN ('failed', 'cancelled') AND {HAS_NO_VIDEO}
        RETURNING job.id, state
    ), {log("'job.retried'", "retried", _DETAIL, job_id="id")}
    SELECT id, state FROM retried
""")


def retry_jobs(
    session: Session, job_ids: Sequence[UUID], new_input: NewInput | None = None, *, by: str | None = None
) -> dict[UUID, str]:
    """Retry those jobs that have failed or were cancelled, with as many further attempts as each had.

    Returns their new states. Left out are jobs that cannot be retried, also because their batch is deleted. A paid
    output that was not stored is fetched and not bought again, unless the provider has deleted it (`output_gone`).
    Instead of being bought again, a job succeeds with the file of a stored duplicate purchase, unless `new_input`
    replaces its input. An earlier prediction keeps the input that it was sent with.
    """
    job_ids = hold_batches_of(session, job_ids)
    _forget_crashes(session, job_ids)
    values: dict[str, Any] = {"input": None, "price": None, "replaced": {}, "by": by}
    if new_input is not None:
        _keep_sent_inputs(session, job_ids)
        given = {"input": as_json(new_input.input), "price": new_input.price}
        values |= given | {"replaced": {"replaced": new_input.replaced}}
    values["replaced"] = as_json(values["replaced"])
    states: dict[UUID, str] = {row.id: row.state for row in session.execute(_RETRY, {"ids": job_ids, **values})}
    if new_input is not None:
        for job_id in states:
            replace_uses(session, job_id, new_input.uploads)
    send_again(session, list(states))
    queued = [job_id for job_id, state in states.items() if state == JobState.QUEUED]
    if new_input is None and queued:
        followed = follow_duplicates(session, queued, waiting=[JobState.QUEUED])
        states |= dict.fromkeys(followed, JobState.SUCCEEDED.value)
    take_back_ends(session, [job_id for job_id, state in states.items() if state != JobState.SUCCEEDED])
    return states


def retry_job(
    session: Session, job_id: UUID, new_input: NewInput | None = None, *, by: str | None = None
) -> str | None:
    """Do the same for one job. Returns its new state, or None if it cannot be retried."""
    return retry_jobs(session, [job_id], new_input, by=by).get(job_id)
