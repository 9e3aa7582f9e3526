"""Remove what is older than a setting or a person says, and what belongs to a deleted batch.

A run makes short transactions with pauses between them, in the order of `models/transitions/pruning.py`. Two runs at
once are safe. A run that ends early, or dies, is continued by the next one.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import structlog

from models import Batch, queries, transitions
from models.db.session import Sessions, transaction
from models.queries.pruning import MarkedFile, Prunable
from models.transitions.pruning import KEPT, RemovedRows
from rushes.access.audit_log import record
from rushes.access.callers import Caller
from rushes.errors import Conflict, InvalidInput, Problem
from rushes.jobs.batches import BatchView, get_batch
from rushes.runtime import Runtime

JOBS_AT_ONCE = 100
"""Jobs per transaction. Removing them with all their rows takes about fifteen milliseconds."""
FILES_AT_ONCE = COUNTED_AT_ONCE = 500
BATCHES_AT_ONCE = 20
UPLOADS_AT_ONCE = 20
ANSWERS_AT_ONCE = DELIVERIES_AT_ONCE = 1_000
DELIVERIES_KEPT = timedelta(days=14)
"""Ended callbacks are kept this long, unless rows are kept shorter."""
GIVE_UP_GRACE = timedelta(hours=1)
"""A callback that is due gets this long for its last attempt."""
PAUSE_SECONDS = 0.01
RUN_SECONDS = 5.0
"""The longest run. The next one continues."""

log = structlog.get_logger(__name__)


class Keep(NamedTuple):
    """How long ended jobs are kept. None: for ever."""

    rows: timedelta | None = None
    files: timedelta | None = None

    @property
    def shortest(self) -> timedelta | None:
        """How long files are kept: no longer than the rows."""
        return min((each for each in self if each is not None), default=None)


class Pruned(NamedTuple):
    """What a run has removed. `done`: nothing was left to remove."""

    jobs: int
    predictions: int
    events: int
    batches: int
    files: int
    misplaced: int  # files that are not in the folder of RUSHES_ARTIFACTS_URL, and so not removed
    done: bool


def prune_by_settings(runtime: Runtime, *, must_stop: Callable[[], bool]) -> str:
    """Run for the ages in the settings, and return a line with the findings."""
    days = (runtime.settings.keep_days, runtime.settings.keep_files_days)
    pruned = prune(runtime, Keep(*(timedelta(days=each) if each else None for each in days)), must_stop=must_stop)
    return ", ".join(f"{name} {value}" for name, value in pruned._asdict().items())


def prune_older_than(runtime: Runtime, age: timedelta, *, caller: Caller) -> Pruned:
    """Run for an age that a person gave. Raises `InvalidInput` if it is too short.

    The run is recorded before it begins, because it has many transactions, and may die after any of them.
    """
    keep = Keep(rows=_check(age))
    with transaction(runtime.sessions) as session:
        record(session, caller, "jobs.prune", "all", after={"older_than_days": age / timedelta(days=1)})
    return prune(runtime, keep)


def count_prunable(sessions: Sessions, age: timedelta) -> Prunable:
    """Count what such runs would remove. Raises `InvalidInput` likewise."""
    with transaction(sessions) as session:
        return queries.pruning.count_prunable(session, older_than=_check(age))


def _check(age: timedelta) -> timedelta:
    if age < KEPT:
        message = f"must be at least {KEPT.days} days: the provider lists a prediction for seven"
        raise InvalidInput([Problem("older_than_days", message)])
    return age


def delete_batch(sessions: Sessions, batch_id: UUID, *, caller: Caller) -> BatchView:
    """Mark an ended batch to be removed: its files at once, its rows once no prediction of it can turn up any more.

    Repeating it changes nothing. Raises `NotFound`, or `Conflict` if a job of it has not ended.
    """
    with transaction(sessions) as session:
        deleted = transitions.pruning.delete_batch(session, batch_id, by=caller.by)
        if deleted:
            batch = session.get_one(Batch, batch_id)
            session.refresh(batch)
            before, after = {"batch": batch.name, "deleted_at": None}, {"deleted_at": batch.deleted_at}
            record(session, caller, "batch.delete", batch_id, before=before, after=after)
    view = get_batch(sessions, batch_id)
    if not deleted and view.summary.deleted_at is None:
        left = view.summary.job_count - view.done
        raise Conflict(f"{left:,} of the {view.summary.job_count:,} jobs of batch {view.summary.name!r} have not ended")
    return view


def prune(
    runtime: Runtime, keep: Keep, *, must_stop: Callable[[], bool] = lambda: False, seconds: float = RUN_SECONDS
) -> Pruned:
    """Remove for at most `seconds`. Raises `Unavailable` if the files cannot be reached; no row of them is removed."""
    ends_at = time.monotonic() + seconds
    rows, batches, files, misplaced, after = RemovedRows(), 0, 0, 0, None
    while True:
        marked = _mark(runtime.sessions, keep)
        with transaction(runtime.sessions) as session:
            found = queries.pruning.list_marked_files(session, count=FILES_AT_ONCE, after=after)
            marker = queries.storing.find_store_marker(session) if found else None
        runtime.store.require_marker(marker)
        gone = _remove_files(runtime, found)
        with transaction(runtime.sessions) as session:
            removed = transitions.pruning.remove_jobs(session, older_than=keep.rows, count=JOBS_AT_ONCE)
        with transaction(runtime.sessions) as session:
            batches += transitions.pruning.remove_batches(session)
            transitions.actions.remove_actions(session, older_than=keep.rows)
        with transaction(runtime.sessions) as session:
            unused = transitions.uploads.remove_unused(session, count=UPLOADS_AT_ONCE)
        with transaction(runtime.sessions) as session:
            answers = transitions.answered.remove_old(session, count=ANSWERS_AT_ONCE)
        deliveries = _remove_deliveries(runtime, keep)
        with transaction(runtime.sessions) as session:
            counted = transitions.pruning.count_ended(session, count=COUNTED_AT_ONCE)
        rows = RemovedRows(*(sum(pair) for pair in zip(rows, removed or RemovedRows(), strict=True)))
        files, misplaced = files + gone, misplaced + len(found) - gone
        after = found[-1].artifact_id if found else after
        done = not (marked or found or removed or unused or answers or deliveries or counted)
        if done or must_stop() or time.monotonic() > ends_at:
            return Pruned(*rows, batches=batches, files=files, misplaced=misplaced, done=done)
        time.sleep(PAUSE_SECONDS)


def _mark(sessions: Sessions, keep: Keep) -> int:
    """Mark what is due. Returns the number of marks."""
    marked = 0
    if keep.rows is not None:
        with transaction(sessions) as session:
            old = queries.pruning.list_old_batches(session, older_than=keep.rows, count=BATCHES_AT_ONCE)
        for batch_id in old:
            with transaction(sessions) as session:
                marked += transitions.pruning.delete_batch(session, batch_id, by="age", older_than=keep.rows)
    if keep.shortest is not None:
        with transaction(sessions) as session:
            marked += transitions.pruning.mark_files(session, older_than=keep.shortest, count=FILES_AT_ONCE)
    with transaction(sessions) as session:
        return marked + transitions.pruning.mark_batch_files(session, count=FILES_AT_ONCE)


def _remove_deliveries(runtime: Runtime, keep: Keep) -> int:
    """Give up callbacks that nothing sends, and remove old ones. Returns how many."""
    grace = GIVE_UP_GRACE * runtime.settings.callback_time_scale
    with transaction(runtime.sessions) as session:
        given_up = transitions.deliveries.give_up_old(session, grace=grace, count=DELIVERIES_AT_ONCE)
    with transaction(runtime.sessions) as session:
        kept = min(keep.rows or DELIVERIES_KEPT, DELIVERIES_KEPT)
        removed = transitions.deliveries.remove_old(session, older_than=kept, count=DELIVERIES_AT_ONCE)
        transitions.endpoints.remove_deleted(session)
    return given_up + removed


def _remove_files(runtime: Runtime, marked: list[MarkedFile]) -> int:
    """Remove these files and confirm them in their rows. Returns how many."""
    gone: list[UUID] = []
    for each in marked:
        try:
            runtime.store.remove(each.url)
        except InvalidInput as error:
            log.warning("prune.misplaced", artifact=str(each.artifact_id), error=str(error))
        else:
            gone.append(each.artifact_id)
    if gone:
        runtime.store.keep_removed(each.url for each in marked)
        with transaction(runtime.sessions) as session:
            transitions.pruning.confirm_removed(session, gone)
    return len(gone)
