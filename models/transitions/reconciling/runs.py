"""Submissions in doubt: who looks for them, and what was found."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from models.db.rows import find_one, moves_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.tables.event import Event
from models.tables.orphan import Orphan
from models.transitions.submitting import WORKER_SILENT
from models.transitions.watching.retention import SEARCH

SWEEP_PAUSE = timedelta(minutes=10)
"""How often the account is swept for predictions that no row knows."""

SWEEP_OVERLAP = timedelta(minutes=15)
"""How far a sweep reads back behind the one before: `list_lag_seconds` is at most ten minutes."""

MOST_SILENT_SUBMITS = 3
"""So many submissions of a job whose worker fell silent and that never reached the provider, and the job is parked."""

SILENT_SPREAD = timedelta(seconds=10)
"""Over so long they are queued again: those that died of another's submission are not beside it the next time, too."""

_CLAIM = statement("""
    UPDATE account
    SET reconcile_claim = reconcile_claim + 1, reconcile_until = now() + :lease
    WHERE id = :account_id AND (reconcile_until IS NULL OR reconcile_until <= now())
      AND (EXISTS (
              SELECT 1 FROM prediction
              WHERE account_id = :account_id AND state = 'unconfirmed' AND due_at <= now())
           OR paused_reason = 'restore'
           OR ((orphans_swept_at IS NULL OR orphans_swept_at < now() - :sweep_pause)
               AND EXISTS (
                   SELECT 1 FROM prediction
                   WHERE account_id = :account_id AND (accepted_at IS NOT NULL OR state = 'absent'))))
    RETURNING reconcile_claim
""")

_BEGIN = statement("""
    UPDATE account
    SET reconcile_begun = :claim, reconcile_until = now() + :lease
    WHERE id = :account_id AND reconcile_claim = :claim AND reconcile_begun < :claim
    RETURNING now(), make_interval(secs => list_lag_seconds),
        CASE WHEN paused_reason = 'restore' OR orphans_swept_at IS NULL OR orphans_swept_at < now() - :sweep_pause
             THEN greatest(now() - interval '7 days', least(
                 CASE WHEN paused_reason = 'restore'
                      THEN coalesce(least(epoch_at - interval '1 hour', orphans_swept_at - :sweep_overlap), '-infinity')
                      ELSE coalesce(orphans_swept_at - :sweep_overlap,
                          (SELECT min(posted_at) FROM prediction WHERE account_id = :account_id))
                 END,
                 -- Not found so far, but the list may show it late: sought again whenever its age has grown by half.
                 (SELECT min(posted_at) FROM prediction
                  WHERE account_id = :account_id AND state = 'absent' AND posted_at > now() - interval '7 days'
                    AND floor(log(1.5, extract(epoch FROM now() - posted_at)))
                        > floor(log(1.5, greatest(1, extract(epoch FROM orphans_swept_at - posted_at)))))))
        END,
        CASE WHEN paused_reason = 'restore' THEN paused_at END,
        CASE WHEN paused_reason = 'restore' THEN epoch_at END
""")

_RENEW = statement("""
    UPDATE account SET reconcile_until = now() + :lease
    WHERE id = :account_id AND reconcile_claim = :claim AND reconcile_begun = :claim
    RETURNING 1
""")

_FINISH = statement("""
    UPDATE account
    SET reconcile_until = now() + :pause,
        list_lag_seconds = least(600, greatest(list_lag_seconds, :lag_seconds)),
        orphans_swept_at = coalesce(CAST(:swept_at AS timestamptz), orphans_swept_at)
    WHERE id = :account_id AND reconcile_claim = :claim
    RETURNING 1
""")

_ABSENT = statement("""
    WITH gone AS (
        UPDATE prediction
        SET state = 'absent', ended_at = now(), due_at = NULL
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND (:decided OR due_at IS NOT NULL AND posted_at > now() - :search)
        RETURNING id, job_id, account_id
    ), silent AS (
        SELECT count(DISTINCT silence.prediction_id) AS times, jsonb_agg(DISTINCT silence.prediction_id) AS predictions
        FROM gone
        JOIN event AS silence ON silence.job_id = gone.job_id
        JOIN prediction ON prediction.id = silence.prediction_id
        WHERE silence.kind = 'prediction.unconfirmed' AND silence.detail->>'code' = :silent
          AND (prediction.id = gone.id OR prediction.state = 'absent')
          AND silence.id > coalesce((
              SELECT max(id) FROM event WHERE event.job_id = gone.job_id AND kind = 'job.retried'), 0)
        HAVING bool_or(prediction.id = gone.id)
    ), killed AS (
        SELECT 'submit_killed_worker' AS code, predictions, 'the worker that posted it fell silent ' || times
            || ' times before anything had reached the provider; which workers they were is not known' AS message
        FROM silent WHERE times >= :most
    ), freed AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                    WHEN killed.code IS NOT NULL THEN 'failed' ELSE 'queued' END,
            due_at = CASE WHEN cancel_requested_at IS NULL AND killed.code IS NULL
                     THEN now() + CASE WHEN EXISTS (SELECT 1 FROM silent)
                         THEN random() * CAST(:spread AS interval) ELSE interval '0' END END,
            ended_at = CASE WHEN cancel_requested_at IS NOT NULL OR killed.code IS NOT NULL THEN now() END,
            error_code = coalesce(killed.code, job.error_code),
            error_message = coalesce(killed.message, job.error_message)
        FROM gone LEFT JOIN killed ON true
        WHERE job.id = gone.job_id AND job.state = 'rendering'
        RETURNING job.id, job.state, killed.code, killed.message, predictions
    ), told AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.absent', job_id, id, account_id, jsonb_build_object('why', CAST(:why AS text)) FROM gone
        UNION ALL
        SELECT 'job.' || freed.state, freed.id, gone.id, NULL, jsonb_strip_nulls(jsonb_build_object(
            'code', code, 'message', message, 'predictions', predictions))
        FROM freed, gone
    )
    SELECT 1 FROM gone
""")

_POSTPONE = statement("""
    UPDATE prediction SET due_at = now() + :delay
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'unconfirmed' AND due_at IS NOT NULL
""")

_UNDECIDABLE = statement("""
    WITH told_of AS (
        UPDATE prediction SET error_code = 'undecidable', error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'unconfirmed' AND error_code IS DISTINCT FROM 'undecidable'
        RETURNING id, job_id, account_id
    )
    INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
    SELECT 'prediction.undecidable', job_id, id, account_id, jsonb_build_object('message', CAST(:message AS text))
    FROM told_of
""")

_FOREIGN = statement("""
    WITH told_of AS (
        UPDATE prediction SET error_code = 'foreign_list', error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('unconfirmed', 'rendering', 'surplus') AND due_at IS NOT NULL
          AND error_code IS DISTINCT FROM 'foreign_list'
        RETURNING id, job_id, account_id
    )
    INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
    SELECT 'prediction.foreign_list', job_id, id, account_id, jsonb_build_object('message', CAST(:message AS text))
    FROM told_of
    RETURNING 1
""")

# What was learned of the other's render is forgotten, save that a slot was given back: another has it since.
_YIELD = statement("""
    WITH yielded AS (
        UPDATE prediction
        SET state = 'unconfirmed', provider_id = NULL, provider_created_at = NULL, accepted_at = NULL,
            adopted_at = NULL, due_at = now(), claim = claim + 1, odd_since = NULL,
            watch_windows = CASE WHEN watch_windows < :slot_windows THEN 0 ELSE watch_windows END
        WHERE account_id = :account_id AND provider_id = :provider_id AND id <> :prediction_id
          AND adopted_at IS NOT NULL AND state = 'rendering'
          AND job_id <> (SELECT job_id FROM prediction WHERE id = :prediction_id)  -- of one job it has the right home
        RETURNING id, job_id, account_id
    ), told AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.unconfirmed', job_id, id, account_id,
            jsonb_build_object('message', 'what it had adopted is another''s by a direct answer') FROM yielded
    )
    SELECT 1 FROM yielded
""")

_HELD_BY_ANOTHER = statement("""
    SELECT 1 FROM prediction
    WHERE account_id = :account_id AND provider_id = :provider_id AND id <> :prediction_id
""")


class PassTicket(NamedTuple):
    """The right to make one pass over an account's doubts."""

    began_at: datetime
    list_lag: timedelta  # the largest ever seen
    sweep_after: datetime | None  # also sweep for orphans that are younger than this
    restored_at: datetime | None  # when it was seen that the database was restored; None: it was not
    restored_to: datetime | None  # the last claim of submissions that the restored rows tell of


def claim_reconcile(session: Session, account_id: UUID, *, lease: timedelta) -> int | None:
    """Take the pass over this account's doubts, where one is due; returns its claim."""
    values = {"account_id": account_id, "lease": lease, "sweep_pause": SWEEP_PAUSE}
    claim: int | None = session.execute(_CLAIM, values).scalar_one_or_none()
    return claim


def begin_reconcile(session: Session, account_id: UUID, claim: int, *, lease: timedelta) -> PassTicket | None:
    """Start the pass of this claim, once."""
    sweeps = {"sweep_pause": SWEEP_PAUSE, "sweep_overlap": SWEEP_OVERLAP}
    return find_one(session, _BEGIN, PassTicket, account_id=account_id, claim=claim, lease=lease, **sweeps)


def renew_reconcile(session: Session, account_id: UUID, claim: int, *, lease: timedelta) -> bool:
    """Keep the pass; False where another has taken it over, whose findings then count."""
    return moves_one(session, _RENEW, account_id=account_id, claim=claim, lease=lease)


def finish_reconcile(
    session: Session,
    account_id: UUID,
    claim: int,
    *,
    pause: timedelta,
    lag_seconds: float = 0,
    swept_at: datetime | None = None,
) -> bool:
    """End the pass; the next begins after `pause` at the earliest. `swept_at`: when it began, if it swept."""
    values = {"account_id": account_id, "claim": claim, "pause": pause}
    return moves_one(session, _FINISH, lag_seconds=lag_seconds, swept_at=swept_at, **values)


def mark_absent(session: Session, prediction_id: UUID, *, why: str, decided: bool = False) -> bool:
    """Looked for and not found: nothing was bought, the job is queued anew.

    It fails instead (`submit_killed_worker`) where this is the third such one since it was last retried whose worker
    fell silent: as far as anybody can see, posting it kills workers. That holds for a person's word, too.

    False where it is looked for no more: it waits for a person then, or is so old that the list may have dropped it
    while it was read. `decided` says that it is that person's word.
    """
    values = {"prediction_id": prediction_id, "why": why, "decided": decided, "search": SEARCH}
    silent = {"silent": WORKER_SILENT, "most": MOST_SILENT_SUBMITS, "spread": SILENT_SPREAD}
    return moves_one(session, _ABSENT, **silent, **values)


def postpone_doubts(session: Session, ids: Sequence[UUID], *, delay: timedelta) -> None:
    """Look for these again after `delay`, save those that are looked for no more."""
    if ids:
        session.execute(_POSTPONE, {"ids": list(ids), "delay": delay})


def note_undecidable(session: Session, ids: Sequence[UUID], *, message: str) -> None:
    """These are for a person to decide; told once."""
    if ids:
        session.execute(_UNDECIDABLE, {"ids": list(ids), "message": message})


def note_foreign_list(session: Session, ids: Sequence[UUID], *, message: str) -> int:
    """These are not decided, since the list seems to be another account's; told once. Returns of how many now."""
    return len(session.execute(_FOREIGN, {"ids": sorted(ids), "message": message}).all()) if ids else 0


def yield_adoption(session: Session, prediction_id: UUID, *, account_id: UUID, provider_id: str) -> bool:
    """A direct answer beats an adoption: who adopted this provider id is in doubt again.

    False where another row holds it for good; the caller's own submission is then what is in doubt.
    """
    values = {"account_id": account_id, "provider_id": provider_id, "prediction_id": prediction_id}
    session.execute(_YIELD, values | {"slot_windows": SLOT_WINDOWS})
    return session.execute(_HELD_BY_ANOTHER, values).first() is None


def insert_orphans(session: Session, orphans: Sequence[dict[str, Any]]) -> list[str]:
    """Keep and report predictions that no row asked for, each once; returns the provider ids of the new ones."""
    if not orphans:
        return []
    born = upsert(Orphan).on_conflict_do_nothing().returning(Orphan.account_id, Orphan.provider_id)
    new = session.execute(born, list(orphans)).all()
    if new:
        told = [
            {"kind": "account.orphan", "account_id": account_id, "detail": {"provider_id": provider_id}}
            for account_id, provider_id in new
        ]
        session.execute(insert(Event), told)
    return [provider_id for _, provider_id in new]
