"""The reads of a reconciliation run, also after a restore."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement


class Posted(NamedTuple):
    """A submission that was posted and has no provider id."""

    prediction_id: UUID
    job_id: UUID
    video_model: str
    input: dict[str, Any]
    posted_at: datetime
    state: str
    is_open: bool  # its answer may still come
    is_due: bool  # it is open, or searched for now
    is_wanted: bool  # its job waits to be bought (again), with the input of this submission


class ControlPrediction(NamedTuple):
    """A prediction that was accepted near another one. Any list of the same account shows it."""

    prediction_id: UUID  # the other prediction
    provider_id: str
    created_at: datetime  # by the provider's clock
    is_earlier: bool  # accepted before the other prediction


class OpenJob(NamedTuple):
    """A job that the restored rows would buy, or would buy again if its render fails or its unconfirmed submission ends
    as not found. It is searched for like a submission, posted when the job was pushed."""

    job_id: UUID
    video_model: str
    input: dict[str, Any]
    posted_at: datetime
    is_free: bool  # nothing is, or may be, bought for it at present
    uploads: Sequence[str] = ()  # parameters that are uploads, perhaps sent with other addresses
    is_open: bool = False


class UnconfirmedSubmission(NamedTuple):
    """An unconfirmed submission as shown to a person. `reason` says what is known."""

    prediction_id: UUID
    job_id: UUID
    tenant: str
    batch: str | None
    video_model: str
    input: dict[str, Any]
    price: Decimal
    posted_at: datetime
    needs_person: bool
    reason: str


class JobSnapshot(NamedTuple):
    """The state of a job and of a prediction posted for it, when the provider shows that prediction."""

    has_row: bool  # False: a restore lost the prediction's row
    waits: bool  # the prediction was posted, and its provider id is not known
    is_given_up: bool  # the prediction was marked not found or refused: not bought, according to the rows
    is_outdated: bool  # the job's input was replaced after the prediction was sent
    is_wanted: bool  # the job would be bought from now on
    unposted_id: UUID | None  # the job's submission that is not posted yet, if any


_POSTED = statement("""
    SELECT prediction.id AS prediction_id, job_id, video_model, coalesce(sent_input, input) AS input, posted_at,
        prediction.state,
        prediction.state = 'submitting' AS is_open,
        prediction.state = 'submitting'
            OR prediction.state = 'unconfirmed' AND coalesce(prediction.due_at <= now(), false) AS is_due,
        job.state = 'queued' AND cancel_requested_at IS NULL AND NOT is_outdated AS is_wanted
    FROM prediction JOIN job ON job.id = job_id
    WHERE account_id = :account_id AND provider_id IS NULL AND posted_at IS NOT NULL
      AND prediction.state IN ('submitting', 'unconfirmed', 'not_found')
      AND posted_at > now() - interval '7 days'
    ORDER BY posted_at
""")


def list_posted(session: Session, account_id: UUID) -> list[Posted]:
    """Every submission posted within the provider's retention that has no provider id, oldest first."""
    return find_all(session, _POSTED, Posted, account_id=account_id)


_UNCONFIRMED = statement("""
    SELECT prediction.id AS prediction_id, job_id, tenant.name AS tenant, batch.name AS batch, video_model,
        coalesce(sent_input, input) AS input, prediction.price, posted_at,
        prediction.error_code IS NOT DISTINCT FROM 'undecidable' AS needs_person,
        coalesce(prediction.error_message, '') AS reason
    FROM prediction JOIN job ON job.id = job_id JOIN tenant ON tenant.id = tenant_id
        LEFT JOIN batch ON batch.id = batch_id
    WHERE prediction.state = 'unconfirmed'
    ORDER BY posted_at, prediction.id
""")


def list_unconfirmed(session: Session) -> list[UnconfirmedSubmission]:
    """Every unconfirmed submission, oldest first."""
    return find_all(session, _UNCONFIRMED, UnconfirmedSubmission)


_OFFSETS = statement("""
    SELECT min(provider_created_at - posted_at) AS after_post, max(provider_created_at - accepted_at) AS after_answer
    FROM (
        SELECT provider_created_at, posted_at, accepted_at FROM prediction
        WHERE account_id = :account_id AND adopted_at IS NULL
          AND provider_created_at IS NOT NULL AND accepted_at IS NOT NULL
        ORDER BY id DESC
        LIMIT 200
    ) AS latest
""")


def find_offsets(session: Session, account_id: UUID) -> tuple[timedelta | None, timedelta | None]:
    """How long after a POST (the smallest) and after an answer (the largest) the provider's latest acceptances are
    stamped, by its clock; None before anything was accepted."""
    after_post, after_answer = session.execute(_OFFSETS, {"account_id": account_id}).one()
    return after_post, after_answer


_KNOWN = statement("""
    SELECT provider_id FROM prediction WHERE account_id = :account_id AND provider_id = ANY(CAST(:ids AS text[]))
""")


def filter_known(session: Session, account_id: UUID, ids: Sequence[str]) -> set[str]:
    """The provider ids that our rows have."""
    return set(session.scalars(_KNOWN, {"account_id": account_id, "ids": list(ids)}))


_ASKED = """
    SELECT prediction_id, found.provider_id, found.provider_created_at AS created_at, is_earlier
    FROM unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS asked (prediction_id, moment)
    CROSS JOIN LATERAL ({earlier} UNION ALL {later}) AS found
    WHERE found.accepted_at BETWEEN moment - interval '24 hours' AND moment + interval '24 hours'
"""

# Ids sort by creation time, so no index on the time is needed. The inner limits bound the reads if few have a time.
_NEIGHBOURS = """
    (SELECT provider_id, provider_created_at, accepted_at, {is_earlier} AS is_earlier
     FROM (SELECT * FROM prediction WHERE account_id = :account_id AND id {side} asked.prediction_id
           ORDER BY id {order} LIMIT 500) AS near
     WHERE accepted_at {within} AND provider_created_at IS NOT NULL AND state NOT IN ('lost', 'deleted')
     ORDER BY id {order} LIMIT 5)
"""

_CONTROLS = statement(
    _ASKED.format(
        earlier=_NEIGHBOURS.format(is_earlier="true", side="<", order="DESC", within="<= moment"),
        later=_NEIGHBOURS.format(is_earlier="false", side=">", order="ASC", within="< :until"),
    )
)


def list_controls(
    session: Session, account_id: UUID, moments: Mapping[UUID, datetime], *, until: datetime
) -> list[ControlPrediction]:
    """Up to five predictions accepted before and five after each of these, within 24 hours of its moment.

    Later ones are useful only if they were accepted before `until`.
    """
    values = {"ids": list(moments), "moments": list(moments.values()), "until": until}
    return find_all(session, _CONTROLS, ControlPrediction, account_id=account_id, **values) if moments else []


_UNLISTED = statement("""
    SELECT coalesce(max(extract(epoch FROM :listed_at - accepted_at)), 0)::float8
    FROM prediction
    WHERE account_id = :account_id AND state = 'rendering' AND adopted_at IS NULL
      AND provider_created_at > :after AND accepted_at < :listed_at
      AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:ids AS text[])) AS listed (id) WHERE listed.id = provider_id)
""")


def measure_list_lag(
    session: Session, account_id: UUID, *, listed: Iterable[str], listed_at: datetime, after: datetime
) -> float:
    """Seconds by which the provider's list was behind: the age of our oldest render that it did not show."""
    values = {"account_id": account_id, "ids": list(listed), "listed_at": listed_at, "after": after}
    return float(session.execute(_UNLISTED, values).scalar_one())


# In the order in which they would have been submitted. A job that cannot be bought (again) automatically is no owner.
# An unconfirmed submission may be marked not found, or may adopt a prediction that fails. Its job is then bought again,
# like the job of a failed render.
_OPEN_JOBS = statement("""
    SELECT job.id AS job_id, video_model, job.created_at AS posted_at,
        input || coalesce((
            SELECT jsonb_object_agg(parameter, url) FROM job_upload JOIN sent_upload USING (sha256)
            WHERE job_upload.job_id = job.id AND url IS NOT NULL), '{}') AS input,
        prediction.id IS NULL OR prediction.provider_id IS NULL AND posted_at IS NULL AS is_free,
        ARRAY(SELECT parameter FROM job_upload WHERE job_upload.job_id = job.id) AS uploads
    FROM job LEFT JOIN prediction ON job_id = job.id AND NOT is_duplicate
        AND prediction.state IN ('submitting', 'unconfirmed', 'rendering')
    WHERE (job.state = 'queued' AND cancel_requested_at IS NULL
           OR job.state = 'rendering' AND prediction.id IS NOT NULL)
      AND video_model = ANY(CAST(:video_models AS text[]))
    ORDER BY priority DESC, job.id
""")


def list_open_jobs(session: Session, video_models: Sequence[str]) -> list[OpenJob]:
    """The jobs of these video models that may be bought from now on."""
    return find_all(session, _OPEN_JOBS, OpenJob, video_models=list(video_models))


_STRANGERS = statement("""
    SELECT provider_id FROM unknown_prediction
    WHERE account_id = :account_id AND provider_id = ANY(CAST(:ids AS text[]))
      AND found_at < CAST(:before AS timestamptz)
""")


def filter_strangers(session: Session, account_id: UUID, ids: Sequence[str], *, before: datetime | None) -> set[str]:
    """The provider ids that were already unknown predictions at `before`; none if that moment is not known."""
    return set(session.scalars(_STRANGERS, {"account_id": account_id, "ids": list(ids), "before": before}))


_JOB_SNAPSHOT = statement("""
    SELECT own.id IS NOT NULL AS has_row, unposted.id AS unposted_id,
        coalesce(own.provider_id IS NULL AND own.state IN ('submitting', 'unconfirmed') AND own.posted_at IS NOT NULL,
            false) AS waits,
        coalesce(own.provider_id IS NULL AND own.state IN ('refused', 'not_found'), false) AS is_given_up,
        coalesce(own.is_outdated, false) AS is_outdated,
        job.state = 'queued' AND cancel_requested_at IS NULL OR unposted.id IS NOT NULL AS is_wanted
    FROM job LEFT JOIN prediction AS own ON own.id = :prediction_id
        LEFT JOIN prediction AS unposted ON unposted.job_id = job.id
            AND unposted.state = 'submitting' AND unposted.posted_at IS NULL
    WHERE job.id = :job_id
""")


def find_job_snapshot(session: Session, prediction_id: UUID | None, job_id: UUID) -> JobSnapshot | None:
    """The state of this job and of this prediction of it, if known; None if there is no such job."""
    return find_one(session, _JOB_SNAPSHOT, JobSnapshot, prediction_id=prediction_id, job_id=job_id)


_ASSIGNED = statement("SELECT id FROM prediction WHERE job_id = :job_id AND provider_id = :provider_id")


def find_assigned(session: Session, job_id: UUID, provider_id: str) -> UUID | None:
    """The prediction of this job with this provider id; None if there is none."""
    return session.scalars(_ASSIGNED, {"job_id": job_id, "provider_id": provider_id}).one_or_none()
