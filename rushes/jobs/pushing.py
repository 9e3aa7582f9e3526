"""Push, price and cancel jobs, for upstream systems and people."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from slugify import slugify
from sqlalchemy.orm import Session

from models import Batch, Job, queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.jobs import NewBatch, NewJob
from models.transitions.uploads import NewUpload
from rushes.access.audit_log import recorded
from rushes.access.callers import Caller
from rushes.catalog import describe_unknown, find_uploads, find_video_model, is_data_url, normalise_input
from rushes.errors import Conflict, InvalidInput, NotFound, Problem
from rushes.jobs.own_values import CLIENT_REF_LIMIT, check_client_ref, check_metadata
from rushes.jobs.uploads import Files, keep_files, read_files

BATCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A batch's name is also the name of its folder of videos."""

LONGEST_PROMISE = timedelta(days=366)
PROBLEM_LIMIT = 100
"""The most problems that are listed for one batch."""
STEM_LIMIT = 80
_LIKE_A_NUMBER = re.compile(r"\d+-")
MAX_ATTEMPTS = 20
PRIORITY_LIMIT = 100


class JobOrder(BaseModel):
    """One video to render."""

    model_config = ConfigDict(extra="forbid", strict=True)  # a typing error must not cost money

    model: Annotated[str, Field(max_length=200, description="Video model by id or short name; see `/v1/catalog`.")]
    input: Annotated[dict[str, Any], Field(description="The video model's parameters; see `/v1/catalog`.")]
    priority: Annotated[int, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT, description="Higher goes first.")] = 0
    max_attempts: Annotated[
        int, Field(ge=1, le=MAX_ATTEMPTS, description="Maximum number of purchases, if renders fail and are refunded.")
    ] = 3
    client_ref: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=CLIENT_REF_LIMIT,
            description="Your own id of the job. In a batch it names the files.",
        ),
    ] = None
    metadata: Annotated[
        dict[str, Any] | None, Field(description="Your own values, at most 4 kB of JSON. They are returned unchanged.")
    ] = None


class OnRepeat(StrEnum):
    """What happens to a push that repeats an earlier one."""

    REFUSE = "refuse"  # a name that is taken is refused
    SAME_NAME = "same_name"  # a batch of this name with the same jobs is returned
    SAME_JOBS = "same_jobs"  # so is a batch of any name with the same jobs


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning and the number of jobs that it applies to."""

    message: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Checked:
    """Orders that have passed all checks."""

    jobs: list[NewJob] = field(default_factory=list)
    warnings: tuple[Warned, ...] = ()
    files: Files = field(default_factory=dict)

    @property
    def cost_by_model(self) -> dict[str, Decimal]:
        """Dollars by the catalogue, by video model."""
        costs: defaultdict[str, Decimal] = defaultdict(Decimal)
        for job in self.jobs:
            costs[job.video_model] += job.price
        return dict(costs)

    @property
    def cost(self) -> Decimal:
        return sum(self.cost_by_model.values(), Decimal(0))


@dataclass(frozen=True, slots=True)
class Pushed:
    """A stored batch, and whether it is an earlier push of the same jobs."""

    batch: Batch
    is_repeat: bool = False


def check_order(order: JobOrder) -> tuple[NewJob, tuple[str, ...]]:
    """Check and price one order. Returns the job and warnings. Raises `InvalidInput` that names the fields."""
    model = find_video_model(order.model)
    if model is None:
        raise InvalidInput([Problem("model", describe_unknown(order.model))])
    try:
        normalised = normalise_input(model, order.input)
    except InvalidInput as error:
        raise InvalidInput([problem.under("input") for problem in error.problems]) from None
    price = model.price(normalised.values)
    if problems := [*check_client_ref(order.client_ref), *check_metadata(order.metadata)]:
        raise InvalidInput(problems)
    limits = (order.priority, order.max_attempts)
    uploads = find_uploads(model, normalised.values)
    job = NewJob(model.id, normalised.values, price, *limits, order.client_ref, order.metadata, uploads=uploads)
    return job, normalised.warnings


def check_orders(orders: Sequence[JobOrder], *, max_jobs: int) -> Checked:
    """Check a whole batch. Raises `InvalidInput` with the problems of its jobs, named like `jobs.16.input.duration`."""
    if not 1 <= len(orders) <= max_jobs:
        raise InvalidInput([Problem("jobs", f"must hold 1 to {max_jobs} jobs, not {len(orders)}")])
    jobs: list[NewJob] = []
    warnings: Counter[str] = Counter()
    problems: list[Problem] = []
    files: dict[str, NewUpload] = {}
    for index, order in enumerate(orders):
        try:
            slim, own = take_files(order)
            files |= own
            job, warned = check_order(slim)
        except InvalidInput as error:
            problems += [problem.under(f"jobs.{index}") for problem in error.problems]
            continue
        jobs.append(job)
        warnings.update(warned)
    if problems:
        raise InvalidInput(problems[:PROBLEM_LIMIT])
    return Checked(jobs, tuple(Warned(message, count) for message, count in warnings.items()), files)


def take_files(order: JobOrder) -> tuple[JobOrder, Files]:
    """Replace the data URLs of an order with references. Raises `InvalidInput` for a file that is not accepted."""
    model = find_video_model(order.model)
    if model is None or not any(isinstance(each, str) and is_data_url(each) for each in order.input.values()):
        return order, {}
    values, files = read_files(model, order.input)
    return order.model_copy(update={"input": values}), files


def push_job(
    sessions: Sessions, order: JobOrder, *, tenant_id: UUID, returns_same: bool = False
) -> tuple[Job, tuple[str, ...], bool]:
    """Store one job of a tenant. Once this returns, the job is durable.

    With `returns_same`, a job with the same `client_ref` is returned instead. Returns the row, warnings, and whether it
    is an earlier one.
    """
    slim, files = take_files(order)
    new, warnings = check_order(slim)
    with transaction(sessions) as session:
        if returns_same and new.client_ref is not None:
            same = transitions.jobs.find_same_job(session, new.client_ref, tenant_id=tenant_id)
            if same is not None:
                return same, (), True
        if new.uploads:
            keep_files(session, [new], files, tenant_id=tenant_id, prefix="")
        (stem,) = choose_stems([new.client_ref])
        return transitions.jobs.insert_job(session, new._replace(file_stem=stem), tenant_id=tenant_id), warnings, False


def check_batch(name: str, orders: Sequence[JobOrder], *, max_jobs: int) -> Checked:
    """Check the name and the jobs of a batch before any transaction: 100,000 jobs take seconds.

    Raises `InvalidInput` as `check_orders` does.
    """
    check_name(name)
    return check_orders(orders, max_jobs=max_jobs)


def check_name(name: str) -> None:
    """Raise `InvalidInput` if a batch cannot have this name."""
    if not BATCH_NAME.fullmatch(name):
        message = "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or digit"
        raise InvalidInput([Problem("name", message)])


def push_batch(sessions: Sessions, new: NewBatch, checked: Checked, *, on_repeat: OnRepeat = OnRepeat.REFUSE) -> Pushed:
    """Store a batch as a whole or not at all, unless it repeats an earlier push. Raises as `store_batch` does."""

    def insert(session: Session, new: NewBatch) -> Batch | None:
        stems = choose_stems([job.client_ref for job in checked.jobs])
        if any(job.uploads for job in checked.jobs):
            keep_files(session, checked.jobs, checked.files, tenant_id=new.tenant_id)
        jobs = [job._replace(file_stem=stem) for job, stem in zip(checked.jobs, stems, strict=True)]
        return transitions.jobs.insert_batch(session, new, jobs)

    return store_batch(sessions, new._replace(digest=digest_jobs(checked.jobs)), insert, on_repeat=on_repeat)


def store_batch(
    sessions: Sessions, new: NewBatch, insert: Callable[[Session, NewBatch], Batch | None], *, on_repeat: OnRepeat
) -> Pushed:
    """Store a batch by `insert`, which returns None if its name is taken, unless its digest repeats an earlier push.

    Raises `InvalidInput`, or `Conflict` if the tenant has a batch of this name. `finish_by` is the time by which the
    batch should end. It does not speed anything up, but an event reports when it is likely to be missed.
    """
    tenant_id = new.tenant_id
    with transaction(sessions) as session:
        if on_repeat == OnRepeat.SAME_JOBS and new.digest is not None:
            same = transitions.jobs.find_same_push(session, new.digest, tenant_id=tenant_id)
            if same is not None:
                return Pushed(same, is_repeat=True)
        if new.finish_by is not None:
            _check_finish_by(new.finish_by, now=queries.health.read_clock(session))
        batch = insert(session, new)
        if batch is not None:
            return Pushed(batch)
        same = queries.jobs.find_batch(session, new.name, tenant_id=tenant_id)
        is_same = same is not None and same.digest is not None and same.digest == new.digest
        if same is None or not is_same or on_repeat == OnRepeat.REFUSE:
            raise Conflict(f"a batch named {(same.name if same else new.name)!r} exists already")
        return Pushed(same, is_repeat=True)


def digest_jobs(jobs: Iterable[NewJob]) -> str:
    """Return the SHA-256 of the jobs in their order, by which a repeated push is recognised."""
    digest = hashlib.sha256()
    for job in jobs:
        values = (job.video_model, job.input, job.priority, job.max_attempts, job.client_ref, job.client_metadata)
        digest.update(json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()


def choose_stems(references: Sequence[str | None], *, has_others: bool = False) -> list[str | None]:
    """Return the name of each job's files without a suffix, from its `client_ref`: `TEST-001` for `TEST-001`.

    None stands for the default, `<number>-<prompt>`: without a reference, and if two are the same on a file system that
    ignores case. A name that could be the default of another job is used only if no job has the default. With
    `has_others`, the batch has or may get other jobs, which may have it.
    """
    stems = [_simplify(reference) if reference else None for reference in references]
    counts = Counter(stem.casefold() for stem in stems if stem)
    own = [stem if stem and counts[stem.casefold()] == 1 else None for stem in stems]
    if all(own) and not has_others:
        return own
    return [stem if stem and not _LIKE_A_NUMBER.match(stem) else None for stem in own]


def _simplify(reference: str) -> str:
    return slugify(reference, lowercase=False, max_length=STEM_LIMIT, regex_pattern=r"[^-_a-zA-Z0-9]+")


def _check_finish_by(finish_by: datetime, *, now: datetime) -> None:
    if finish_by <= now:
        raise InvalidInput([Problem("finish_by", f"must be in the future; it is {now:%Y-%m-%dT%H:%M:%SZ} now")])
    if finish_by - now > LONGEST_PROMISE:
        raise InvalidInput([Problem("finish_by", f"must be within {LONGEST_PROMISE.days} days")])


def cancel_job(sessions: Sessions, job_id: UUID, *, caller: Caller) -> str:
    """Cancel a job. Returns `cancelled` if nothing was posted, or `requested`: then the render's outcome ends the job.

    There is no way to stop a render at the provider. Its video is kept.
    """
    with transaction(sessions) as session:
        job = require_job(session, job_id)
        with recorded(session, caller, "job.cancel", job, "state", "cancel_requested_at"):
            outcome = transitions.jobs.cancel_job(session, job_id, by=caller.by)
            if outcome is None:
                session.refresh(job)
                raise Conflict(f"job {job_id} has ended: it is {job.state}")
    return outcome


def require_job(session: Session, job_id: UUID) -> Job:
    """Return the job's row. Raises `NotFound`."""
    job = queries.jobs.find_job(session, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job
