"""Reads after a restore: which job may have bought an unknown prediction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement
from models.lifecycle import NOTHING_BOUGHT, PredictionState


class OpenJob(NamedTuple):
    """A job that the restored rows would buy, or would buy again if its render fails or its unconfirmed submission ends
    as not found."""

    job_id: UUID
    prediction_id: UUID | None  # its live prediction
    video_model: str
    input: dict[str, Any]
    created_at: datetime
    is_free: bool  # nothing is, or may be, bought for it at present


class JobSnapshot(NamedTuple):
    """The state of a job and of a prediction posted for it, when the provider shows that prediction."""

    state: str | None  # of the prediction; None: a restore lost its row
    is_known: bool  # the prediction has a provider id, maybe another one
    is_posted: bool
    is_queued: bool  # the job would be bought
    unposted_id: UUID | None  # the job's submission that is not posted yet, if any

    @property
    def waits(self) -> bool:
        """Whether the prediction was posted and its provider id is not known."""
        return self.state in (PredictionState.SUBMITTING, PredictionState.UNCONFIRMED) and (
            self.is_posted and not self.is_known
        )

    @property
    def is_wanted(self) -> bool:
        """Whether the job would be bought from now on."""
        return self.is_queued or self.unposted_id is not None

    @property
    def is_given_up(self) -> bool:
        """Whether the prediction was marked not found or refused: not bought, according to the rows."""
        return self.state in NOTHING_BOUGHT and not self.is_known


# In the order in which they would have been submitted. A job that cannot be bought (again) automatically is no owner.
# An unconfirmed submission may be marked not found, or may adopt a prediction that fails. Its job is then bought again,
# like the job of a failed render.
_OPEN_JOBS = statement("""
    SELECT job.id AS job_id, prediction.id AS prediction_id, video_model, input, job.created_at,
        prediction.id IS NULL OR prediction.provider_id IS NULL AND posted_at IS NULL AS is_free
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
    SELECT own.state, own.provider_id IS NOT NULL AS is_known, own.posted_at IS NOT NULL AS is_posted,
        job.state = 'queued' AND cancel_requested_at IS NULL AS is_queued,
        (SELECT id FROM prediction WHERE job_id = job.id AND prediction.state = 'submitting' AND posted_at IS NULL)
            AS unposted_id
    FROM job LEFT JOIN prediction AS own ON own.id = :prediction_id
    WHERE job.id = :job_id
""")


def find_job_snapshot(session: Session, prediction_id: UUID, job_id: UUID) -> JobSnapshot | None:
    """The state of this job and of this prediction of it; None if there is no such job."""
    return find_one(session, _JOB_SNAPSHOT, JobSnapshot, prediction_id=prediction_id, job_id=job_id)


_ASSIGNED = statement("SELECT id FROM prediction WHERE job_id = :job_id AND provider_id = :provider_id")


def find_assigned(session: Session, job_id: UUID, provider_id: str) -> UUID | None:
    """The prediction of this job with this provider id; None if there is none."""
    return session.scalars(_ASSIGNED, {"job_id": job_id, "provider_id": provider_id}).one_or_none()
