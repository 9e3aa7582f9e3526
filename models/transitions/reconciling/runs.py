"""Reconciliation runs: the claim of a run, and its decisions on unconfirmed submissions and unknown predictions."""

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_one, statement
from models.lifecycle import JobState, Reason
from models.tables.prediction import UnknownPrediction
from models.transitions.history import append_event, fields, log
from models.transitions.job_release import EndedAttempt, release_job
from models.transitions.watching.retention import SEARCH

SWEEP_PAUSE = timedelta(minutes=10)
"""How often the account is swept for unknown predictions."""

MAX_SUBMIT_CRASHES = 3
"""A job is quarantined after this many crashed submissions that never reached the provider."""

CRASH_SPREAD = timedelta(seconds=10)
"""Crashed submissions are queued again at a random time within this span, so that those that died of another's
submission do not run next to it again."""


class RunTicket(NamedTuple):
    """The right to make one reconciliation run, and what the account's row says as it begins."""

    began_at: datetime
    list_lag: timedelta  # the largest list lag ever seen
    swept_at: datetime | None  # when the last sweep began
    first_posted_at: datetime | None  # the account's first POST, if it was never swept
    restored_at: datetime | None  # when the restore of the database was detected; None: not restored
    restored_to: datetime | None  # time of the last claim of submissions in the restored rows
    provider_failures: int = 0  # requests in a row without a usable answer


_CLAIM = statement("""
    UPDATE account
    SET reconcile_claim = reconcile_claim + 1, reconcile_until = now() + :lease
    WHERE id = :account_id AND (reconcile_until IS NULL OR reconcile_until <= now())
      AND (EXISTS (
              SELECT 1 FROM prediction
              WHERE account_id = :account_id AND state = 'unconfirmed' AND due_at <= now())
           OR paused_reason = 'restore'
           OR ((swept_at IS NULL OR swept_at < now() - :sweep_pause)
               AND EXISTS (
                   SELECT 1 FROM prediction
                   WHERE account_id = :account_id AND (accepted_at IS NOT NULL
                       OR state = 'not_found' AND posted_at > now() - interval '7 days'))))
    RETURNING reconcile_claim
""")


def claim_reconcile(session: Session, account_id: UUID, *, lease: timedelta) -> int | None:
    """Claim the reconciliation run of this account if one is due. Returns its claim."""
    values = {"account_id": account_id, "lease": lease, "sweep_pause": SWEEP_PAUSE}
    claim: int | None = session.execute(_CLAIM, values).scalar_one_or_none()
    return claim


_BEGIN = statement("""
    UPDATE account
    SET reconcile_begun = :claim, reconcile_until = now() + :lease
    WHERE id = :account_id AND reconcile_claim = :claim AND reconcile_begun < :claim
    RETURNING now() AS began_at, make_interval(secs => list_lag_seconds) AS list_lag, swept_at,
        CASE WHEN swept_at IS NULL THEN (SELECT min(posted_at) FROM prediction WHERE account_id = :account_id) END
            AS first_posted_at,
        CASE WHEN paused_reason = 'restore' THEN paused_at END AS restored_at,
        CASE WHEN paused_reason = 'restore' THEN epoch_at END AS restored_to, provider_failures
""")


def begin_reconcile(session: Session, account_id: UUID, claim: int, *, lease: timedelta) -> RunTicket | None:
    """Start the run of this claim, once."""
    return find_one(session, _BEGIN, RunTicket, account_id=account_id, claim=claim, lease=lease)


_HOLD = statement("""
    UPDATE account
    SET reconcile_until = now() + :pause,
        list_lag_seconds = least(600, greatest(list_lag_seconds, :lag_seconds)),
        swept_at = coalesce(CAST(:swept_at AS timestamptz), swept_at)
    WHERE id = :account_id AND reconcile_claim = :claim
    RETURNING 1
""")


def hold_next_run(
    session: Session,
    account_id: UUID,
    claim: int,
    *,
    pause: timedelta,
    lag_seconds: float = 0,
    swept_at: datetime | None = None,
) -> bool:
    """Let the next run begin after `pause` at the earliest: to renew the lease of this run, or at its end.

    `swept_at` is when this run began, if it swept. Returns False if another run has taken over; only the other run's
    findings then count.
    """
    values = {"account_id": account_id, "claim": claim, "pause": pause}
    return changed_a_row(session, _HOLD, lag_seconds=lag_seconds, swept_at=swept_at, **values)


_CRASHED = statement("""
    SELECT id FROM prediction WHERE job_id = :job_id AND state = 'not_found' AND submit_crashed ORDER BY attempt
""")

_NOT_FOUND = statement(f"""
    WITH gone AS (
        UPDATE prediction
        SET state = 'not_found', ended_at = now(), due_at = NULL
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND (:decided OR due_at IS NOT NULL AND posted_at > now() - :search)
        RETURNING id, job_id, account_id, submit_crashed
    ), {log("'prediction.not_found'", "gone", fields("why"))}
    SELECT job_id, submit_crashed FROM gone
""")


def mark_not_found(session: Session, prediction_id: UUID, *, why: str, decided: bool = False) -> bool:
    """The submission was searched for and not found: nothing was bought, and the job is queued again.

    The job fails instead (`submit_killed_worker`) if this is its third crashed submission marked not found since it was
    last retried: apparently, posting it kills workers. This also applies if a person decides (`decided`).

    Returns False if the submission is no longer searched for. It then waits for a person, or is so old that the list
    may have dropped it while it was read.
    """
    values = {"prediction_id": prediction_id, "why": why, "decided": decided, "search": SEARCH}
    gone = session.execute(_NOT_FOUND, values).one_or_none()
    if gone is None:
        return False
    ended = EndedAttempt(prediction_id, gone.job_id)
    crashed = list(session.scalars(_CRASHED, {"job_id": gone.job_id})) if gone.submit_crashed else []
    if len(crashed) < MAX_SUBMIT_CRASHES:
        delay = random.random() * CRASH_SPREAD if crashed else timedelta(0)
        release_job(session, ended, JobState.QUEUED, delay=delay)
        return True
    message = (
        f"the worker that posted it crashed {len(crashed)} times before anything had reached the provider; "
        "which workers they were is not known"
    )
    reason = Reason("submit_killed_worker", message)
    detail = {**reason._asdict(), "predictions": [str(each) for each in crashed]}
    release_job(session, ended, JobState.FAILED, reason=reason, detail=detail)
    return True


_POSTPONE = statement("""
    UPDATE prediction SET due_at = now() + waiting.delay
    FROM unnest(CAST(:ids AS uuid[]), CAST(:delays AS interval[])) AS waiting (id, delay)
    WHERE prediction.id = waiting.id AND state = 'unconfirmed' AND due_at IS NOT NULL
""")


def postpone_unconfirmed(session: Session, delays: Mapping[UUID, timedelta]) -> None:
    """Search for each of these again after its delay, except for those that are no longer searched for."""
    if delays:
        session.execute(_POSTPONE, {"ids": list(delays), "delays": list(delays.values())})


_UNDECIDED = statement(f"""
    WITH marked AS (
        UPDATE prediction SET error_code = CAST(:code AS text), error_message = :message
        WHERE id = ANY(CAST(:ids AS uuid[])) AND due_at IS NOT NULL
          AND (state = 'unconfirmed' OR state = 'rendering' AND CAST(:code AS text) = 'foreign_list')
          AND error_code IS DISTINCT FROM CAST(:code AS text)
        RETURNING id, job_id, account_id, error_code
    ), {log("'prediction.' || error_code", "marked", fields("message"))}
    SELECT 1 FROM marked
""")


def note_undecided(
    session: Session, ids: Sequence[UUID], *, code: Literal["undecidable", "foreign_list"], message: str
) -> int:
    """Record, once each, why these stay undecided: a person has to decide them, or the list seems to be another
    account's. Returns how many are new."""
    return len(session.execute(_UNDECIDED, {"ids": sorted(ids), "code": code, "message": message}).all()) if ids else 0


def insert_unknown_predictions(session: Session, unknown_predictions: Sequence[dict[str, Any]]) -> list[str]:
    """Store and report predictions that no row asked for, each once. Returns the provider ids of the new ones."""
    if not unknown_predictions:
        return []
    born = upsert(UnknownPrediction).on_conflict_do_nothing().returning(UnknownPrediction)
    new = session.scalars(born, list(unknown_predictions)).all()
    for each in new:
        detail = {"provider_id": each.provider_id}
        append_event(session, "account.unknown_prediction", detail, account_id=each.account_id)
    return [each.provider_id for each in new]
