"""The inputs of a forecast: slots and rate limit, renders in flight, the queue in its order, and how long storing
took."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import BATCH_PLACE, find_all, find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.money import SPENT_TODAY, first_id_of_today

# The kind of a render: its video model and the requested seconds.
_KIND = """job.video_model, round(coalesce((input->>'duration')::numeric,
        (input->>'end_time')::numeric - (input->>'start_time')::numeric))::int AS output_seconds"""
_OURS = "coalesce(job.id = :job_id OR job.batch_id = :batch_id, false)"
# OFFSET 0 makes the planner look up each job. Without it, the planner sometimes reads most of the table in id order.
_JOB_OF_IT = "LATERAL (SELECT * FROM job WHERE job.id = prediction.job_id OFFSET 0) AS job"


class Promise(NamedTuple):
    """An open batch with a `finish_by`."""

    batch_id: UUID
    name: str
    finish_by: datetime
    seconds_left: float  # until finish_by; negative: it is late
    at_risk: bool  # recorded as at risk


class BusyBatch(NamedTuple):
    """A batch with renders in flight."""

    batch_id: UUID
    name: str


class Whose(NamedTuple):
    """The jobs to forecast: all jobs of a batch, or one job."""

    batch_id: UUID | None = None
    job_id: UUID | None = None


class Capacity(NamedTuple):
    """How fast an account can take jobs."""

    slots: int
    submits_per_minute: int
    submitted: int  # rate slots taken
    back_off_seconds: float  # until it takes submissions again
    led: bool  # a leader hands out the slots, and its turns do not fail
    store_threads: int
    now: datetime
    paused: bool  # it takes none until the pause is ended


class Recent(NamedTuple):
    """The results of the renders of the youngest jobs that succeeded."""

    store_seconds: float | None  # median
    completed: int
    failed: int


class RunningRenders(NamedTuple):
    """Renders of one kind with about the same age."""

    video_model: str
    output_seconds: int | None
    ours: bool
    in_slot: bool
    posted: bool  # if false, it is still to be submitted
    undecided: bool  # unconfirmed, waits for a person
    renders: int
    age_seconds: float


class StoringJobs(NamedTuple):
    """Jobs with a video to store."""

    ours: bool
    jobs: int
    age_seconds: float  # on average since the outcome


class WaitingJobs(NamedTuple):
    """Queued jobs of one kind, ordered by priority like admission. Within a priority, others' jobs precede ours."""

    priority: int
    ours: bool
    video_model: str
    output_seconds: int | None
    jobs: int


_CAPACITY = statement("""
    SELECT least(slots, effective_slots)::int AS slots, submits_per_minute,
        (SELECT count(*) FROM prediction WHERE account_id = account.id AND not_before > now() - :rate_window)
            AS submitted,
        greatest(0, coalesce(extract(epoch FROM back_off_until - now()), 0))::float8 AS back_off_seconds,
        EXISTS (SELECT 1 FROM leader LEFT JOIN worker ON worker.name = holder
            WHERE lease_until > now() AND coalesce(turns_failing_since > now() - interval '10 seconds', true)) AS led,
        (SELECT coalesce(sum(threads), 0)::int FROM worker
            WHERE seen_at > now() - interval '15 seconds' AND 'store' = ANY(queues)) AS store_threads,
        now() AS now, paused_at IS NOT NULL AS paused
    FROM account WHERE name = :account
""")


def find_capacity(session: Session, account: str, *, rate_window: timedelta) -> Capacity | None:
    """The limits of the account with this name, and how many rate slots were taken within the last `rate_window`."""
    return find_one(session, _CAPACITY, Capacity, account=account, rate_window=rate_window)


_RECENT = statement("""
    SELECT
        percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM done.ended_at - prediction.ended_at)::float8)
            FILTER (WHERE prediction.state = 'completed') AS store_seconds,
        count(*) FILTER (WHERE prediction.state = 'completed') AS completed,
        count(*) FILTER (WHERE prediction.state IN ('failed', 'timeout')) AS failed
    FROM (
        -- A range: with an equality, the planner would walk a long queue of youngest jobs to find them.
        SELECT id, ended_at FROM job
        WHERE (state, id) >= ('succeeded', '00000000-0000-0000-0000-000000000000'::uuid)
          AND (state, id) <= ('succeeded', 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        ORDER BY state DESC, id DESC LIMIT 100
    ) AS done
    JOIN prediction ON job_id = done.id AND NOT is_duplicate
""")


def find_recent(session: Session) -> Recent:
    """How long storing took recently, and how many renders failed before one completed."""
    recent = find_one(session, _RECENT, Recent)
    assert recent is not None  # noqa: S101 - an aggregate has a row
    return recent


_PROMISES = statement(f"""
    SELECT id AS batch_id, {BATCH_PLACE} AS name, finish_by,
        extract(epoch FROM finish_by - now())::float8 AS seconds_left, at_risk_at IS NOT NULL AS at_risk
    FROM batch
    WHERE finish_by > now() - interval '1 day'
      AND EXISTS (SELECT 1 FROM job WHERE batch_id = batch.id AND state IN ('queued', 'rendering', 'storing'))
    ORDER BY finish_by
    LIMIT :count
""")


def list_promises(session: Session, *, count: int) -> list[Promise]:
    """Open batches with a `finish_by` that passed no longer than a day ago, the most urgent first."""
    return find_all(session, _PROMISES, Promise, count=count)


_BUSY = statement(f"""
    SELECT batch.id AS batch_id, {BATCH_PLACE} AS name
    FROM prediction, {_JOB_OF_IT} JOIN batch ON batch.id = batch_id
    WHERE prediction.state IN ('submitting', 'unconfirmed', 'rendering')
    GROUP BY batch.id
    ORDER BY count(*) DESC, batch.id
    LIMIT :count
""")


def list_busy_batches(session: Session, *, count: int) -> list[BusyBatch]:
    """The batches with the most renders in flight."""
    return find_all(session, _BUSY, BusyBatch, count=count)


_OUR_RENDER = f"NOT is_duplicate AND {_OURS}"  # a duplicate purchase holds a slot, but no job waits for it

# Nearly equal ages are grouped, in buckets a quarter of a natural logarithm wide.
_RUNNING = statement(f"""
    SELECT {_KIND}, {_OUR_RENDER} AS ours, watch_windows < :slot_windows AS in_slot,
        prediction.state <> 'submitting' OR posted_at IS NOT NULL AS posted,
        prediction.state = 'unconfirmed' AND prediction.due_at IS NULL AS undecided,
        count(*) AS renders, avg(age) AS age_seconds
    FROM prediction, {_JOB_OF_IT},
        LATERAL (SELECT greatest(0, extract(epoch FROM now() - coalesce(accepted_at, posted_at, now())))::float8) AS
            since(age)
    WHERE prediction.state IN ('submitting', 'unconfirmed', 'rendering')
    GROUP BY 1, 2, 3, 4, 5, 6, round(4 * ln(1 + age))
""")


def list_running(session: Session, whose: Whose) -> list[RunningRenders]:
    """Renders in flight or about to be posted."""
    return find_all(session, _RUNNING, RunningRenders, slot_windows=SLOT_WINDOWS, **whose._asdict())


_STORING = """
    SELECT {ours} AS ours, count(*) AS jobs,
        avg(extract(epoch FROM now() - coalesce(outcome.at, now())))::float8 AS age_seconds
    FROM job, LATERAL (
        SELECT max(ended_at) AS at FROM prediction
        WHERE job_id = job.id AND state = 'completed' AND NOT is_duplicate) AS outcome
    WHERE job.state = 'storing'
    GROUP BY 1
"""

_STORING_OF = statement(_STORING.format(ours=_OURS))


def list_storing(session: Session, whose: Whose) -> list[StoringJobs]:
    """Jobs to be stored."""
    return find_all(session, _STORING_OF, StoringJobs, **whose._asdict())


_WAITING = """
    WITH last AS MATERIALIZED (
        SELECT priority, id FROM job WHERE {whose} AND state = 'queued' AND paused_at IS NULL
        ORDER BY priority, id DESC LIMIT 1
    )
    SELECT job.priority, {ours} AS ours, {kind}, count(*) AS jobs
    FROM job, last
    WHERE job.state = 'queued' AND job.paused_at IS NULL
      AND (job.priority > last.priority OR job.priority = last.priority AND job.id <= last.id)
    GROUP BY 1, 2, 3, 4
    ORDER BY 1 DESC, 2
"""

_WAITING_OF_JOB = statement(_WAITING.format(whose="id = :job_id", ours=_OURS, kind=_KIND))

_WAITING_OF_BATCH = statement(_WAITING.format(whose="batch_id = :batch_id", ours=_OURS, kind=_KIND))


_WAITING_OF_ALL = statement(_WAITING.format(whose="true", ours=_OURS, kind=_KIND))


def list_waiting(session: Session, whose: Whose) -> list[WaitingJobs]:
    """The queue up to the last of these jobs, in the dispatcher's order; the whole queue if no jobs are named."""
    named = _WAITING_OF_JOB if whose.job_id else _WAITING_OF_ALL
    query = _WAITING_OF_BATCH if whose.batch_id else named
    return find_all(session, query, WaitingJobs, **whose._asdict())


_EXCEEDS_CAP = statement(f"""
    SELECT queue.price > account.max_spend_per_day - ({SPENT_TODAY})
    FROM account, LATERAL (
        SELECT coalesce(sum(job.price), 0) AS price FROM job, (
            SELECT priority, id FROM job
            WHERE (id = :job_id OR batch_id = :batch_id) AND state = 'queued' AND job.paused_at IS NULL
            ORDER BY priority, id DESC LIMIT 1) AS last
        WHERE job.state = 'queued' AND job.paused_at IS NULL AND account.max_spend_per_day IS NOT NULL
          AND (job.priority > last.priority OR job.priority = last.priority AND job.id <= last.id)) AS queue
    WHERE account.name = :account AND account.max_spend_per_day IS NOT NULL
""")


def exceeds_cap(session: Session, account: str, whose: Whose) -> bool:
    """Whether the queue up to the last of these jobs costs more than the daily spending cap leaves for today."""
    values = {"account": account, "today": first_id_of_today(), **whose._asdict()}
    return bool(session.execute(_EXCEEDS_CAP, values).scalar())
