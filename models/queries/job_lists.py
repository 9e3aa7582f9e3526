"""Lists of jobs, filtered and sorted. Each page begins where the last one ended, in a range of an index."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Select, UnaryExpression, func, select, text, tuple_, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from models.lifecycle import JOB_ENDED, JobState
from models.money import SPENT
from models.queries.job_filter import JobFilter
from models.tables.access import Tenant
from models.tables.batch import Batch
from models.tables.job import Job
from models.tables.prediction import Prediction


class JobSort(StrEnum):
    """The order of a list."""

    CREATED = "created"  # newest first; ids sort by time
    AGE = "age"  # oldest first
    ENDED = "ended"  # last ended first, and only ended jobs
    COST = "cost"  # dearest first


@dataclass(frozen=True, slots=True)
class JobPlace:
    """The place of a job in a list: its id and, before the id, the value that the list is sorted by."""

    id: UUID
    value: datetime | Decimal | None = None


class FailedJob(NamedTuple):
    """A failed job, without its input."""

    id: UUID
    tenant: str
    batch: str | None
    number: int | None
    client_ref: str | None
    video_model: str
    price: Decimal
    code: str
    message: str | None
    ended_at: datetime
    spent: Decimal  # dollars for its predictions that ended as paid


_VALUES: dict[JobSort, tuple[InstrumentedAttribute[Any]]] = {
    JobSort.ENDED: (Job.ended_at,),
    JobSort.COST: (Job.price,),
}
_COLUMNS = {
    "tenant_id": Job.tenant_id,
    "batch_id": Job.batch_id,
    "states": Job.state,
    "code": Job.error_code,
    "video_model": Job.video_model,
    "client_ref": Job.client_ref,
}
_PARTIAL = {"error_code", "ended_at", "client_ref"}  # an index by one of these holds only the rows that have it
_BEFORE_IDS = (
    ("client_ref", "tenant_id"),
    ("batch_id", "states"),
    ("batch_id",),
    ("code",),
    ("tenant_id", "states"),
    ("states",),
    ("tenant_id",),
    ("video_model",),
)
"""The properties that begin an index and are followed by the id."""
_BEGINNINGS = {JobSort.ENDED: (("batch_id",), ("states",)), JobSort.COST: ()}
"""The properties that begin an index and are followed by the sort's value."""
_FIRST_MOMENT, _LAST_MOMENT = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def find_place(job: Job, sort: JobSort) -> JobPlace:
    """The place of this job in a list."""
    return JobPlace(job.id, *(getattr(job, each.key) for each in _VALUES.get(sort, ())))


def list_jobs(
    session: Session,
    chosen: JobFilter,
    *,
    limit: int,
    sort: JobSort = JobSort.CREATED,
    is_reversed: bool = False,
    after: JobPlace | None = None,
) -> Sequence[Job]:
    """Jobs in this order. `after` is the place of the last job of the previous page."""
    is_descending = (sort == JobSort.AGE) == is_reversed
    pages = [_select_page(each, sort, is_descending, after).limit(limit) for each in _split(chosen, sort)]
    if len(pages) == 1:
        return session.scalars(pages[0]).all()
    found: type[Job] = aliased(Job, union_all(*pages).subquery())
    keys = [getattr(found, each.key) for each in (*_VALUES.get(sort, ()), Job.id)]
    return session.scalars(select(found).order_by(*_direct(keys, is_descending)).limit(limit)).all()


def list_ids(session: Session, chosen: JobFilter, *, limit: int, after: UUID | None = None) -> Sequence[UUID]:
    """The next jobs that meet the filter, in the order of their ids. `after` is the last one before them."""
    place = JobPlace(after) if after else None
    split = _split(chosen, JobSort.AGE)
    pages = [_select_page(each, JobSort.AGE, False, place).with_only_columns(Job.id).limit(limit) for each in split]
    found = union_all(*pages).subquery()
    return session.scalars(select(found.c.id).order_by(found.c.id).limit(limit)).all()


def _split(chosen: JobFilter, sort: JobSort) -> list[JobFilter]:
    """One filter per state, where an index holds the jobs of each state in this order."""
    if sort == JobSort.COST or (sort == JobSort.ENDED and chosen.batch_id is not None):
        return [chosen]
    states = chosen.states
    if sort == JobSort.ENDED:
        states = tuple(each for each in JobState if each in JOB_ENDED and (not states or each in states)) or states
    return [replace(chosen, states=(each,)) for each in states] or [chosen]


def _select_page(chosen: JobFilter, sort: JobSort, is_descending: bool, after: JobPlace | None) -> Select[Job]:
    # Select a range of an index that begins with the wanted columns. With equalities, the planner would rather walk all
    # jobs from the youngest on until it has found enough matches. With a long queue, it would walk the whole queue.
    beginnings = _BEGINNINGS.get(sort, _BEFORE_IDS)
    names = next((each for each in beginnings if all(getattr(chosen, name) for name in each)), ())
    wanted = [chosen.states[0].value if name == "states" else getattr(chosen, name) for name in names]
    empty: dict[str, Any] = {name: () if name == "states" else None for name in names}
    rest = replace(chosen, **empty).find_conditions()
    keys = [*(_COLUMNS[name] for name in names), *_VALUES.get(sort, ()), Job.id]
    bounds: dict[JobSort, tuple[Any, Any]] = {
        JobSort.ENDED: (chosen.ended_after or _FIRST_MOMENT, chosen.ended_before or _LAST_MOMENT),
        JobSort.COST: (Decimal(0), Decimal(99_999_999)),
    }
    low, high = zip(*(each for each in (bounds.get(sort), (UUID(int=0), UUID(int=2**128 - 1))) if each), strict=True)
    if after:
        place = (after.id,) if after.value is None else (after.value, after.id)
        low, high = (low, place) if is_descending else (place, high)
    rest += [tuple_(*keys) > tuple_(*wanted, *low), tuple_(*keys) < tuple_(*wanted, *high)]
    rest += [each.is_not(None) for each in keys if each.key in _PARTIAL]
    return select(Job).where(*rest).order_by(*_direct(keys, is_descending))


def _direct(keys: Iterable[InstrumentedAttribute[Any]], is_descending: bool) -> list[UnaryExpression[Any]]:
    return [each.desc() if is_descending else each.asc() for each in keys]


def list_failed(session: Session, chosen: JobFilter, *, limit: int) -> list[FailedJob]:
    """The chosen jobs that have failed, the last one first."""
    paid = select(func.coalesce(func.sum(Prediction.price), 0)).where(Prediction.job_id == Job.id, text(SPENT))
    shown = (Job.id, Tenant.name, Batch.name, Job.number, Job.client_ref, Job.video_model, Job.price, Job.error_code)
    query = select(*shown, Job.error_message, Job.ended_at, paid.scalar_subquery())
    query = query.join(Tenant, Tenant.id == Job.tenant_id).outerjoin(Batch, Batch.id == Job.batch_id)
    query = query.where(Job.state == JobState.FAILED.value, Job.ended_at.is_not(None), *chosen.find_conditions())
    rows: Iterable[Any] = session.execute(query.order_by(Job.ended_at.desc(), Job.id.desc()).limit(limit))
    return [FailedJob(*row) for row in rows]
