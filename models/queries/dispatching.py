"""The dispatcher's reads."""

from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.queries.accounts.back_off import WATCH_DUE
from models.transitions.admission import IN_USE, ROOM, ROOM_VALUES, AccountRoom
from models.transitions.storing.steps import TO_STORE
from models.transitions.watching.lists import LAG, OWN_SHARE


class DispatchAccount(NamedTuple):
    """An account's health as the dispatcher needs it."""

    id: UUID
    back_offs: int
    back_off_reason: str | None
    back_off_seconds: float  # until submissions may continue; 0 or less: they may now
    check_failures: int
    check_back_off_seconds: float
    sweep_lag_seconds: float  # by how much the list was late; the estimate halves every 5 minutes
    epoch: int  # claims of submissions so far
    restore_epoch: int  # the highest RUSHES_RESTORE_EPOCH handled
    slots: int
    effective_slots: int | None  # learned from a concurrency 429
    overcommit: int  # renders submitted beyond the slots: this many may queue at the provider, not yet rendering
    requests_owed: int  # requests that checks made beyond those granted
    own_share: float  # share of a page's entries that is ours; the others' share halves every 5 minutes
    outputs_failing: bool  # the output host has an outage: downloads wait, one at a time probes


class DueWork(NamedTuple):
    """The work that is due now. A step for which nothing is due is left out of the turn."""

    jobs: bool  # a queued job waits for a slot only
    submits: bool  # a submission has no message yet, or its message was lost
    stores: bool  # a store step has no message yet, or its worker crashed
    actions: bool  # a person's action on many jobs runs
    callbacks: bool  # an endpoint may get some
    early_checks: bool  # a render got an early-check request a moment ago
    next_seconds: float | None  # until more is due; None: nothing waits for a time


class Survey(NamedTuple):
    """All that the dispatcher reads in a turn with nothing to do."""

    account: DispatchAccount
    room: AccountRoom  # without a lock, so it may be out of date
    due: DueWork


class Chores(NamedTuple):
    """Less urgent work, which is looked for twice a second."""

    threads: dict[str, int]  # of the living workers, by queue
    overdue_submits: bool  # a submission was posted by a worker that died or froze
    crashed_stores: bool  # a store step was begun by a worker that died or froze
    failed_outputs: bool  # a file could not be downloaded
    ended_windows: bool  # a watch window has ended
    searches: bool  # a reconciliation run is due
    promises: bool  # a batch that has not ended has a `finish_by`
    unended_batches: bool  # a sealed batch is not recorded as ended


_HEALTH = f"""id, back_off_reason, check_failures, epoch, restore_epoch, requests_owed,
        coalesce(extract(epoch FROM back_off_until - now())::float8, 0) AS back_off_seconds,
        coalesce(extract(epoch FROM check_back_off_until - now())::float8, 0) AS check_back_off_seconds,
        {LAG} AS sweep_lag_seconds, {OWN_SHARE} AS own_share, outputs_failing_since IS NOT NULL AS outputs_failing"""

_ACCOUNT = statement(f"SELECT {_HEALTH}, back_offs, slots, effective_slots, overcommit FROM account WHERE name = :name")


def find_account(session: Session, name: str) -> DispatchAccount | None:
    """The account with this name."""
    return find_one(session, _ACCOUNT, DispatchAccount, name=name)


_NEXT = f"""extract(epoch FROM least(
            (SELECT min(due_at) FROM prediction WHERE {TO_STORE} AND due_at > now()),
            CASE WHEN outputs_probe_at > now() THEN outputs_probe_at END,
            (SELECT min(due_at) FROM job WHERE state = 'queued' AND paused_at IS NULL AND due_at > now()),
            (SELECT min(due_at) FROM prediction WHERE state = 'submitting' AND due_at > now()),
            (SELECT min(due_at) FROM prediction WHERE state = 'unconfirmed' AND due_at > now()),
            {WATCH_DUE}
        ) - now())::float8"""

_SURVEY = statement(f"""
    SELECT {_HEALTH}, {ROOM}, NULL AS spend_left,
        coalesce((SELECT min(due_at) FROM job WHERE state = 'queued' AND paused_at IS NULL) <= now(), false) AS jobs,
        EXISTS (SELECT FROM prediction WHERE state = 'submitting' AND posted_at IS NULL AND due_at <= now()) AS submits,
        EXISTS (SELECT FROM prediction WHERE {TO_STORE} AND due_at <= now()) AS stores,
        EXISTS (SELECT FROM action WHERE state = 'running') AS actions,
        EXISTS (SELECT FROM endpoint WHERE disabled_at IS NULL) AS callbacks,
        EXISTS (SELECT FROM prediction WHERE state = 'rendering' AND early_check_at > now() - interval '1 s')
            AS early_checks,
        {_NEXT} AS next_seconds
    FROM account, {IN_USE}
    WHERE name = :name
""")


def survey(session: Session, name: str) -> Survey | None:
    """The account with this name, its use, and what is due."""
    row = session.execute(_SURVEY, {"name": name, **ROOM_VALUES}).first()
    if row is None:
        return None
    found = row._mapping

    def pick(shape: type[Any]) -> Any:
        return shape(**{name: found[name] for name in shape._fields})

    return Survey(pick(DispatchAccount), pick(AccountRoom), pick(DueWork))


_CHORES = statement(f"""
    SELECT coalesce((
            SELECT jsonb_object_agg(queue, threads) FROM (
                SELECT queue, sum(threads)::int AS threads FROM worker, unnest(queues) AS queue
                WHERE seen_at > now() - interval '15 seconds'
                GROUP BY queue) AS living
        ), '{{}}') AS threads,
        EXISTS (SELECT FROM prediction WHERE state = 'submitting' AND posted_at IS NOT NULL AND due_at <= now())
            AS overdue_submits,
        EXISTS (SELECT FROM prediction WHERE {TO_STORE} AND due_at <= now() AND begun_at IS NOT NULL)
            AS crashed_stores,
        EXISTS (SELECT FROM prediction WHERE {TO_STORE} AND output_failed_at IS NOT NULL) AS failed_outputs,
        EXISTS (SELECT FROM prediction WHERE state = 'rendering' AND due_at <= now()) AS ended_windows,
        EXISTS (SELECT FROM prediction WHERE state = 'unconfirmed' AND due_at <= now())
            OR EXISTS (SELECT FROM account WHERE (reconcile_until IS NULL OR reconcile_until <= now())
                AND (paused_reason = 'restore' OR swept_at IS NULL OR swept_at < now() - interval '10 min'))
            AS searches,
        EXISTS (SELECT FROM batch WHERE finish_by > now() - interval '1 day') AS promises,
        EXISTS (SELECT FROM batch WHERE sealed_at IS NOT NULL AND ended_at IS NULL) AS unended_batches
""")


def find_chores(session: Session) -> Chores:
    """The less urgent work that is due, and the threads that there are for it."""
    chores = find_one(session, _CHORES, Chores)
    assert chores is not None  # noqa: S101 - a SELECT without FROM has a row
    return chores
