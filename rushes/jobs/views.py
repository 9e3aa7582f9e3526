"""Views of jobs for people and upstream systems: the row, its purchases, its files and its money together."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from models import Artifact, ArtifactKind, Event, Job, JobState, Prediction, PredictionState, queries
from models.db.session import Sessions, transaction
from models.lifecycle import NOTHING_BOUGHT, is_ended, is_live, is_spent
from models.queries.job_filter import JobFilter
from models.queries.job_lists import JobPlace, JobSort, find_place
from models.tables.access import DEFAULT_TENANT_NAME
from rushes.catalog import find_video_model
from rushes.errors import Conflict, Gone, NotFound
from rushes.forecasting.forecaster import Forecaster, Progress
from rushes.jobs.pushing import require_job
from rushes.jobs.why_waiting import JobWait, explain_wait

Item = TypeVar("Item")
Key = TypeVar("Key", UUID, int, JobPlace)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item, Key]):
    """One page of a listing, and the key of its last item if there are more."""

    items: Sequence[Item]
    next_key: Key | None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with everything that belongs to it."""

    job: Job
    batch: str | None = None
    predictions: Sequence[Prediction] = ()
    artifacts: Sequence[Artifact] = ()
    wait: JobWait | None = None
    progress: Progress | None = None
    tenant: str = DEFAULT_TENANT_NAME

    @property
    def live(self) -> Prediction | None:
        """The prediction that the job waits for, or the one that made its video while that is being stored."""
        state = PredictionState.COMPLETED if self.job.state == JobState.STORING else None
        candidates = (each for each in self._own() if (each.state == state if state else each.ended_at is None))
        return max(candidates, key=lambda each: each.attempt, default=None)

    @property
    def failing(self) -> Job | Prediction:
        """The row with the latest error: while its video is being stored, that of its prediction."""
        return (self.live if self.job.state == JobState.STORING else None) or self.job

    @property
    def model_name(self) -> str:
        """The short name of its video model, or the id if the model is no longer in the catalogue."""
        model = find_video_model(self.job.video_model)
        return model.name if model else self.job.video_model

    @property
    def attempts(self) -> int:
        """Number of predictions that were bought, or may have been, without duplicate purchases."""
        return sum(each.posted_at is not None and each.state not in NOTHING_BOUGHT for each in self._own())

    @property
    def held(self) -> Decimal:
        """Dollars for predictions without an outcome."""
        return self._sum_prices(lambda each: is_live(PredictionState(each.state)))

    @property
    def spent(self) -> Decimal:
        """Dollars for predictions that ended as paid."""
        return self._sum_prices(lambda each: is_spent(PredictionState(each.state), error_code=each.error_code))

    def find_file(self, kind: ArtifactKind) -> Artifact | None:
        """Return the newest stored file of this kind, but never a duplicate purchase's file."""
        own = (each for each in self.artifacts if each.kind == kind and not each.is_duplicate)
        return max(own, key=lambda each: each.id, default=None)

    def has_duplicate_file(self, prediction: Prediction, kind: ArtifactKind) -> bool:
        """Whether this is a duplicate purchase with a stored file of this kind."""
        files = (each for each in self.artifacts if each.prediction_id == prediction.id)
        return prediction.is_duplicate and any(each.kind == kind for each in files)

    def _own(self) -> Iterator[Prediction]:
        return (each for each in self.predictions if not each.is_duplicate)

    def _sum_prices(self, counts: Callable[[Prediction], bool]) -> Decimal:
        return sum((each.price for each in self.predictions if counts(each)), Decimal(0))


def get_job(
    sessions: Sessions, job_id: UUID, *, explained: bool = False, forecaster: Forecaster | None = None
) -> JobView:
    """Return one job, on request with the reason for its wait and with its progress. Raises `NotFound`."""
    with transaction(sessions) as session:
        job = require_job(session, job_id)
        (view,) = _view_jobs(session, [job])
        if forecaster is not None:
            view = replace(view, progress=forecaster.find_progress(session, job, view.live))
        if not explained:
            return view
        wait = explain_wait(session, job, view.live)
        return replace(view, wait=_expect_start(wait, view, forecaster) if wait and forecaster else wait)


def _expect_start(wait: JobWait, view: JobView, forecaster: Forecaster) -> JobWait:
    """Add when the render is expected to start: as long before the expected end as a render takes."""
    left = view.progress.time_left if view.progress else None
    if wait.place is None or left is None:
        return wait
    render = forecaster.forecast_render(view.job.video_model, view.job.input)
    seconds = max(0.0, left.expected_seconds - render.expected_seconds)
    return replace(wait, starts_at=datetime.now(UTC) + timedelta(seconds=seconds))


def list_jobs(
    sessions: Sessions,
    choose: Callable[[Session], JobFilter],
    *,
    limit: int,
    sort: JobSort = JobSort.CREATED,
    is_reversed: bool = False,
    after: JobPlace | None = None,
) -> Page[JobView, JobPlace]:
    """List the chosen jobs in this order, with at most five statements for any limit. Raises what `choose` raises."""
    with transaction(sessions) as session:
        chosen = choose(session)
        jobs = queries.job_lists.list_jobs(
            session, chosen, limit=limit + 1, sort=sort, is_reversed=is_reversed, after=after
        )
        page = cut_page(jobs, limit=limit, key=partial(find_place, sort=sort))
        return Page(_view_jobs(session, page.items), page.next_key)


def list_events(sessions: Sessions, job_id: UUID, *, limit: int, after: int) -> Page[Event, int]:
    """List a job's history, oldest first. Raises `NotFound` if there is no such job."""
    with transaction(sessions) as session:
        require_job(session, job_id)
        events = queries.jobs.list_events(session, job_id, limit=limit + 1, after=after)
    return cut_page(events, limit=limit, key=lambda event: event.id)


def get_file(sessions: Sessions, job_id: UUID, kind: ArtifactKind) -> Artifact:
    """Return a job's stored file. Raises `Conflict` while it may still arrive, and `NotFound` if it never will.

    Raises `Gone` if it was removed on purpose.
    """
    view = get_job(sessions, job_id)
    if file := view.find_file(kind):
        return _require_kept(file, kind, f"job {job_id}")
    if is_ended(JobState(view.job.state)):
        raise NotFound(f"job {job_id} is {view.job.state}: it has no {kind.file_name}")
    raise Conflict(f"job {job_id} is {view.job.state}: there is no {kind.file_name} yet")


def get_duplicate_file(sessions: Sessions, prediction_id: UUID, kind: ArtifactKind) -> Artifact:
    """Return the stored file of a duplicate purchase. Raises `NotFound` if there is none, or for other predictions.

    Raises `Gone` if it was removed on purpose.
    """
    with transaction(sessions) as session:
        file = queries.jobs.find_duplicate_file(session, prediction_id, kind)
    if file is None:
        raise NotFound(f"there is no {kind.file_name} of a duplicate purchase {prediction_id}")
    return _require_kept(file, kind, f"prediction {prediction_id}")


def _require_kept(file: Artifact, kind: ArtifactKind, owner: str) -> Artifact:
    if file.removed_at is not None:
        at = f"{file.removed_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        raise Gone(f"the {kind.file_name} of {owner} was removed on purpose at {at}: its row stays, its file is gone")
    return file


def cut_page(rows: Sequence[Item], *, limit: int, key: Callable[[Item], Key]) -> Page[Item, Key]:
    """Return the first `limit` of `rows`. Callers query one row more, which shows whether there is a next page."""
    items = rows[:limit]
    return Page(items, key(items[-1]) if len(rows) > limit else None)


def _view_jobs(session: Session, jobs: Sequence[Job]) -> list[JobView]:
    ids = [job.id for job in jobs]
    batch_ids = {job.batch_id for job in jobs if job.batch_id}
    names = queries.jobs.name_batches(session, batch_ids) if batch_ids else {}
    predictions = _group_by_job(queries.jobs.list_predictions(session, ids))
    artifacts = _group_by_job(queries.jobs.list_artifacts(session, ids))
    tenants = queries.keys.name_tenants(session, {job.tenant_id for job in jobs})
    return [
        JobView(
            job,
            names[job.batch_id] if job.batch_id else None,
            predictions.get(job.id, []),
            artifacts.get(job.id, []),
            tenant=tenants[job.tenant_id],
        )
        for job in jobs
    ]


Owned = TypeVar("Owned", Prediction, Artifact)


def _group_by_job(rows: Iterable[Owned]) -> dict[UUID, list[Owned]]:
    groups: dict[UUID, list[Owned]] = {}
    for row in rows:
        groups.setdefault(row.job_id, []).append(row)
    return groups
