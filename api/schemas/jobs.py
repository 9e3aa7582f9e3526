"""Jobs, their purchases and their history, as the API shows them."""

import math
from datetime import datetime
from decimal import Decimal
from types import NoneType
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, ValidationInfo, field_validator, model_validator

from api.schemas.values import (
    NOT_A_CURSOR,
    JobCursor,
    Money,
    PageShown,
    Shown,
    Time,
    TimeLeftEstimate,
    TimeLeftUnknown,
    drop_blanks,
)
from models import ArtifactKind, JobState, Prediction, PredictionState
from models.queries.job_lists import JobPlace, JobSort
from rushes.forecasting.forecaster import Progress
from rushes.jobs.choosing import JobChoice
from rushes.jobs.views import JobView


class WaitSeen(Shown):
    """Why a job waits: the reason that admission or the schedule acts on first."""

    reason: str = Field(
        description="`slot`, `rate_limit`, `back_off`, `retry_delay`, `job_paused`, `too_expensive`, `duplicate`, "
        "`upload`, `dispatcher`, `unconfirmed`, `decision` (a person has to decide), `late_render`, `recheck`, "
        "`output_host`, `store_retry`, `next_turn`; or a condition of the account, such as `paused` or `no_credit`."
    )
    message: str = Field(description="Message for people.")
    until: Time | None = Field(description="When the wait ends or is tried again, if known.")
    place: int | None = Field(description="Place in the queue, from 1.")
    starts_at: Time | None = Field(description="When the render is expected to start.")


class Links:
    """Addresses at which the client reaches this API."""

    def __init__(self, base_url: str) -> None:
        self.root = base_url.rstrip("/")

    def job(self, job_id: UUID, part: str = "") -> str:
        return f"{self.root}/v1/jobs/{job_id}" + (f"/{part}" if part else "")

    def prediction(self, prediction_id: UUID, part: str) -> str:
        return f"{self.root}/v1/predictions/{prediction_id}/{part}"

    def batch(self, name: str) -> str:
        return f"{self.root}/v1/batches/{name}"


class Failure(BaseModel):
    """Why a job or a prediction failed."""

    code: str = Field(description="Machine-readable code.")
    message: str = Field(description="Message for people.")

    @classmethod
    def find(cls, code: str | None, message: str | None) -> Self | None:
        return cls(code=code, message=message or "") if code else None


class JobCost(Shown):
    """The cost of a job so far, in US dollars."""

    held: Money = Field(description="For predictions without an outcome.")
    spent: Money = Field(description="For predictions that ended as paid.")


class Video(Shown):
    """A stored video that passed the probe."""

    url: str = Field(description="Address of the file. Range requests are supported.")
    file_name: str | None = Field(description="A name that is unique in its batch. Null once the file is removed.")
    bytes: int
    sha256: str
    container: str | None
    seconds: float | None
    width: int | None
    height: int | None
    has_audio: bool | None
    poster_url: str | None = Field(description="Its first frame as JPEG.")
    removed_at: Time | None = Field(description="When the file was removed on purpose. Its address then answers 410.")

    @classmethod
    def find(cls, view: JobView, links: Links) -> Self | None:
        file = view.find_file(ArtifactKind.VIDEO)
        if file is None:
            return None
        poster_url = links.job(view.job.id, "poster") if view.find_file(ArtifactKind.POSTER) else None
        url = links.job(view.job.id, "video")
        return cls.copy_from(file, url=url, poster_url=poster_url)


class Unverified(Shown):
    """A downloaded file that is kept although the probe rejects it as a video."""

    url: str = Field(description="Address of the file.")
    file_name: str | None = Field(description="A name that is unique in its batch. Null once the file is removed.")
    bytes: int
    sha256: str
    content_type: str | None = Field(description="As declared by the output host.")
    source: str | None = Field(description="The address it was downloaded from, without the query.")
    message: str | None = Field(description="Why the probe rejects it.")
    kept_at: Time
    removed_at: Time | None = Field(description="When the file was removed on purpose. Its address then answers 410.")

    @classmethod
    def find(cls, view: JobView, links: Links) -> Self | None:
        file = view.find_file(ArtifactKind.UNVERIFIED)
        if file is None:
            return None
        url = links.job(view.job.id, "unverified")
        return cls.copy_from(file, url=url, kept_at=file.created_at)


class PredictionSeen(Shown):
    """One purchase."""

    id: UUID
    attempt: int
    state: PredictionState
    provider_id: str | None = Field(description="The provider's prediction id.")
    price: Money
    created_at: Time
    posted_at: Time | None = Field(description="From this time on, the prediction may have been bought.")
    accepted_at: Time | None = Field(description="When its `provider_id` became known.")
    ended_at: Time | None
    watch_windows: int = Field(description="Watch windows that ended without an outcome.")
    is_duplicate: bool = Field(
        description="Found after it was marked not found or refused: paid for in addition to another purchase."
    )
    video_url: str | None = Field(description="Only for a duplicate: address of its video, once it is stored.")
    unverified_url: str | None = Field(
        description="Only for a duplicate: address of a file that is kept although the probe rejects it."
    )
    error: Failure | None

    @classmethod
    def of(cls, prediction: Prediction, view: JobView, links: Links) -> Self:
        def find_url(kind: ArtifactKind) -> str | None:
            return links.prediction(prediction.id, kind.value) if view.has_duplicate_file(prediction, kind) else None

        return cls.copy_from(
            prediction,
            video_url=find_url(ArtifactKind.VIDEO),
            unverified_url=find_url(ArtifactKind.UNVERIFIED),
            error=Failure.find(prediction.error_code, prediction.error_message),
        )


class JobListed(Shown):
    """A job as listed, without its purchases."""

    id: UUID
    tenant: str
    batch: str | None
    number: int | None = Field(description="Position in the batch, from 1.")
    model: str = Field(description="The video model's short name.")
    state: JobState
    input: dict[str, Any] = Field(description="All parameters, as sent to the provider.")
    client_ref: str | None = Field(description="The caller's own id.")
    metadata: dict[str, Any] | None = Field(description="The caller's own values, as they were pushed.")
    priority: int
    price: Money = Field(description="Catalogue price of one render, in US dollars.")
    attempts: int = Field(description="Predictions that were or may have been bought, without duplicate purchases.")
    max_attempts: int
    cost: JobCost
    error: Failure | None
    cancel_requested: bool
    created_at: Time
    ended_at: Time | None
    video: Video | None
    unverified: Unverified | None = Field(description="A file that arrived but is not a video.")
    waits_for: str | None = Field(
        default=None, description="Why the job does not progress. Only shown for a single job."
    )
    wait: WaitSeen | None = Field(default=None, description="The same for programs. Only shown for a single job.")
    progress: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the job that is done: its age divided by its expected total time. Below 1 until the job "
        "has succeeded. Only shown for a single job.",
    )
    time_left: TimeLeftEstimate | None = Field(
        default=None,
        description="Time until the job ends. Null once it has ended, while `time_left_unknown` gives a reason, "
        "and in listings.",
    )
    time_left_unknown: TimeLeftUnknown = None

    @classmethod
    def of(cls, view: JobView, links: Links, **more: Any) -> Self:
        job, progress = view.job, view.progress or Progress()
        return cls.copy_from(
            job,
            tenant=view.tenant,
            batch=view.batch,
            metadata=job.client_metadata,
            model=view.model_name,
            attempts=view.attempts,
            cost=JobCost.copy_from(view),
            error=Failure.find(view.failing.error_code, view.failing.error_message),
            cancel_requested=job.cancel_requested_at is not None,
            video=Video.find(view, links),
            unverified=Unverified.find(view, links),
            waits_for=view.wait.message if view.wait else None,
            wait=WaitSeen.copy_from(view.wait) if view.wait else None,
            progress=_round_down(progress.share),
            time_left=TimeLeftEstimate.find(progress.time_left),
            time_left_unknown=progress.unknown,
            **more,
        )


class JobDetails(JobListed):
    """A job with its purchases, in the order they were made."""

    predictions: list[PredictionSeen]

    @classmethod
    def of(cls, view: JobView, links: Links, **more: Any) -> Self:
        return super().of(
            view, links, predictions=[PredictionSeen.of(each, view, links) for each in view.predictions], **more
        )


def _round_down(share: float | None) -> float | None:
    """Round down to three decimals, so that an unfinished job never shows 1."""
    return None if share is None else math.floor(share * 1000) / 1000


class JobPushed(JobDetails):
    """A stored job, with warnings about changes to its input."""

    warnings: list[str] = Field(description="For example, parameters that were dropped.")


class JobCancelled(BaseModel):
    """The result of a cancellation."""

    outcome: Literal["cancelled", "requested"] = Field(
        description="`requested`: the provider has the job, and the provider's outcome ends it. A file that arrives "
        "is kept."
    )
    job: JobDetails


class JobRetried(BaseModel):
    """The result of a retry."""

    state: Literal["queued", "storing"] = Field(
        description="`storing`: the video is paid for and only needs to be downloaded."
    )
    job: JobDetails


class JobPage(PageShown[JobListed]):
    """Jobs in the order that was asked for."""


class JobsAsked(JobChoice):
    """Which jobs to list, and in which order."""

    sort: JobSort = Field(
        default=JobSort.CREATED,
        description="`created`: newest first. `age`: oldest first. `ended`: only ended jobs, the last one first. "
        "`cost`: by the price of one render, dearest first.",
    )
    reverse: bool = Field(default=False, description="The other way round.")
    limit: int = Field(default=50, ge=1, le=500, description="Jobs per page.")
    cursor: JobCursor = Field(default=None, description="`next_cursor` of the previous page, in the same order.")

    without_blanks = model_validator(mode="before")(drop_blanks)

    @field_validator("cursor")
    @classmethod
    def _fit_sort(cls, cursor: JobPlace | None, info: ValidationInfo) -> JobPlace | None:
        kind = {JobSort.ENDED: datetime, JobSort.COST: Decimal}.get(info.data.get("sort", JobSort.CREATED), NoneType)
        if cursor is not None and not isinstance(cursor.value, kind):
            raise ValueError(NOT_A_CURSOR)
        return cursor
