"""Reconciliation runs: claim, renew and finish the search for unconfirmed submissions, and record its findings."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_one, statement
from models.lifecycle import SLOT_WINDOWS
from models.tables.unknown_prediction import UnknownPrediction
from models.transitions.history import append_event, fields, log
from models.transitions.watching.retention import SEARCH

SWEEP_PAUSE = timedelta(minutes=10)
"""How often the account is swept for unknown predictions."""

SWEEP_OVERLAP = timedelta(minutes=15)
"""How far a sweep reads back before the start of the previous one: `list_lag_seconds` is at most ten minutes."""


class RunTicket(NamedTuple):
    """The right to make one reconciliation run."""

    began_at: datetime
    list_lag: timedelta  # the largest list lag ever seen
    sweep_after: datetime | None  # also sweep for unknown predictions younger than this
    restored_at: datetime | None  # when the restore of the database was detected; None: not restored
    restored_to: datetime | None  # time of the last claim of submissions in the restored rows


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
    RETURNING now() AS began_at, make_interval(secs => list_lag_seconds) AS list_lag,
        CASE WHEN paused_reason = 'restore' OR swept_at IS NULL OR swept_at < now() - :sweep_pause
             THEN greatest(now() - interval '7 days', least(
                 CASE WHEN paused_reason = 'restore'
                      THEN coalesce(least(epoch_at - interval '1 hour', swept_at - :sweep_overlap), '-infinity')
                      ELSE coalesce(swept_at - :sweep_overlap,
                          (SELECT min(posted_at) FROM prediction WHERE account_id = :account_id))
                 END,
                 -- Not found so far, but the list may show it late. Search again whenever its age has grown by half,
                 -- and once more before the list drops it. Not after a restore: the whole list must then be read.
                 (SELECT min(posted_at) FROM prediction
                  WHERE account_id = :account_id AND state = 'not_found' AND posted_at > now() - interval '7 days'
                    AND account.paused_reason IS DISTINCT FROM 'restore'
                    AND (floor(log(1.5, greatest(1, extract(epoch FROM now() - posted_at))))
                            > floor(log(1.5, greatest(1, extract(epoch FROM swept_at - posted_at))))
                        OR now() - :search >= posted_at AND swept_at - :search < posted_at))))
        END AS sweep_after,
        CASE WHEN paused_reason = 'restore' THEN paused_at END AS restored_at,
        CASE WHEN paused_reason = 'restore' THEN epoch_at END AS restored_to
""")


def begin_reconcile(session: Session, account_id: UUID, claim: int, *, lease: timedelta) -> RunTicket | None:
    """Start the run of this claim, once."""
    sweeps = {"sweep_pause": SWEEP_PAUSE, "sweep_overlap": SWEEP_OVERLAP, "search": SEARCH}
    return find_one(session, _BEGIN, RunTicket, account_id=account_id, claim=claim, lease=lease, **sweeps)


_RENEW = statement("""
    UPDATE account SET reconcile_until = now() + :lease
    WHERE id = :account_id AND reconcile_claim = :claim AND reconcile_begun = :claim
    RETURNING 1
""")


def renew_reconcile(session: Session, account_id: UUID, claim: int, *, lease: timedelta) -> bool:
    """Renew the run's lease. Returns False if another run has taken over; only the other run's findings then count."""
    return changed_a_row(session, _RENEW, account_id=account_id, claim=claim, lease=lease)


_FINISH = statement("""
    UPDATE account
    SET reconcile_until = now() + :pause,
        list_lag_seconds = least(600, greatest(list_lag_seconds, :lag_seconds)),
        swept_at = coalesce(CAST(:swept_at AS timestamptz), swept_at)
    WHERE id = :account_id AND reconcile_claim = :claim
    RETURNING 1
""")


def finish_reconcile(
    session: Session,
    account_id: UUID,
    claim: int,
    *,
    pause: timedelta,
    lag_seconds: float = 0,
    swept_at: datetime | None = None,
) -> bool:
    """End the run. The next begins after `pause` at the earliest. `swept_at` is when this run began, if it swept."""
    values = {"account_id": account_id, "claim": claim, "pause": pause}
    return changed_a_row(session, _FINISH, lag_seconds=lag_seconds, swept_at=swept_at, **values)


# Forget everything learned about the other submission's render, except that a slot was given back: that slot has been
# given to another since.
_YIELD = statement(f"""
    WITH yielded AS (
        UPDATE prediction
        SET state = 'unconfirmed', provider_id = NULL, provider_created_at = NULL, accepted_at = NULL,
            adopted_at = NULL, due_at = now(), claim = claim + 1, inconsistent_since = NULL,
            watch_windows = CASE WHEN watch_windows < :slot_windows THEN 0 ELSE watch_windows END
        WHERE account_id = :account_id AND provider_id = :provider_id AND id <> :prediction_id
          AND adopted_at IS NOT NULL AND state = 'rendering' AND NOT is_duplicate
          AND job_id <> (SELECT job_id FROM prediction WHERE id = :prediction_id)  -- in the same job, it stays
        RETURNING id, job_id, account_id
    ), {log("'prediction.unconfirmed'", "yielded", fields("message"))}
    SELECT 1 FROM yielded
""")

_HELD_BY_ANOTHER = statement("""
    SELECT 1 FROM prediction
    WHERE account_id = :account_id AND provider_id = :provider_id AND id <> :prediction_id
""")


def yield_adoption(session: Session, prediction_id: UUID, *, account_id: UUID, provider_id: str) -> bool:
    """A direct answer overrides an adoption: a submission that adopted this provider id is unconfirmed again.

    Returns False if another row keeps the id. The caller's own submission is then the unconfirmed one.
    """
    values = {"account_id": account_id, "provider_id": provider_id, "prediction_id": prediction_id}
    message = "a direct answer showed that the prediction it had adopted is another submission's"
    session.execute(_YIELD, values | {"slot_windows": SLOT_WINDOWS, "message": message})
    return session.execute(_HELD_BY_ANOTHER, values).first() is None


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
