"""Pauses. A paused account submits nothing: after a restore, until unknown predictions were searched for, or because a
person paused it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.transitions.history import fields, log

# Both epochs are updated at once, so that one restore pauses once. A person's pause is kept and stands afterwards.
_HOLD = statement(f"""
    WITH held AS (
        UPDATE account
        SET paused_at = now(), paused_reason = 'restore', paused_detail = :detail,
            person_paused_at = CASE WHEN paused_reason = 'person' THEN paused_at ELSE person_paused_at END,
            person_paused_by = CASE WHEN paused_reason = 'person' THEN paused_detail ELSE person_paused_by END,
            epoch = greatest(epoch, :epoch), restore_epoch = greatest(restore_epoch, :restore_epoch)
        WHERE id = :account_id AND (epoch < :epoch OR restore_epoch < :restore_epoch)
        RETURNING id, epoch_at
    ), {log("'account.paused'", "held", fields("detail", reason="'restore'", restored_to="epoch_at"), account_id="id")}
    SELECT 1 FROM held
""")


def hold_restored(session: Session, account_id: UUID, *, epoch: int, restore_epoch: int, detail: str) -> bool:
    """Pause the account if its row is behind one of these epochs: its database has then been restored."""
    values = {"account_id": account_id, "epoch": epoch, "restore_epoch": restore_epoch, "detail": detail}
    return changed_a_row(session, _HOLD, **values)


_EXPLAIN = statement(f"""
    WITH explained AS (
        UPDATE account SET paused_detail = :detail
        WHERE id = :account_id AND paused_reason = 'restore' AND paused_detail IS DISTINCT FROM :detail
        RETURNING id
    ), {log("'account.paused'", "explained", fields("detail", reason="'restore'"), account_id="id")}
    SELECT 1 FROM explained
""")


def explain_pause(session: Session, account_id: UUID, *, detail: str) -> bool:
    """Record what an account paused for a restore waits for. Each detail is recorded once."""
    return changed_a_row(session, _EXPLAIN, account_id=account_id, detail=detail)


_PAUSE = statement(f"""
    WITH paused AS (
        UPDATE account
        SET paused_at = coalesce(paused_at, now()), paused_reason = coalesce(paused_reason, 'person'),
            paused_detail = CASE WHEN paused_at IS NULL THEN CAST(:by AS text) ELSE paused_detail END,
            person_paused_at = CASE WHEN paused_at IS NOT NULL THEN now() END,
            person_paused_by = CASE WHEN paused_at IS NOT NULL THEN CAST(:by AS text) END
        WHERE id = :account_id AND (paused_at IS NULL OR paused_reason = 'restore' AND person_paused_at IS NULL)
        RETURNING id
    ), {log("'account.paused'", "paused", fields("by", reason="'person'"), account_id="id")}
    SELECT 1 FROM paused
""")


def pause_account(session: Session, account_id: UUID, *, by: str) -> bool:
    """A person pauses the account. A pause for a restore continues, and this pause stands after it. Returns False if a
    person has already paused it."""
    return changed_a_row(session, _PAUSE, account_id=account_id, by=by)


_RESUME = statement(f"""
    WITH resumed AS (
        UPDATE account
        SET paused_at = NULL, paused_reason = NULL, paused_detail = NULL,
            person_paused_at = NULL, person_paused_by = NULL
        FROM (SELECT paused_reason AS reason FROM account WHERE id = :account_id FOR NO KEY UPDATE) AS before
        WHERE id = :account_id AND paused_at IS NOT NULL
        RETURNING id, before.reason
    ), {log("'account.resumed'", "resumed", fields("by", reason="reason"), account_id="id")}
    SELECT 1 FROM resumed
""")


def resume_account(session: Session, account_id: UUID, *, by: str) -> bool:
    """A person resumes the account, whatever it was paused for. Returns False if it is not paused."""
    return changed_a_row(session, _RESUME, account_id=account_id, by=by)


_RELEASED_DETAIL = f"""CASE outcome WHEN 'resumed' THEN {fields("by", reason="'restore'")}
            ELSE {fields(reason="'person'", by="paused_detail", detail="'the restore is dealt with'")} END"""

_RELEASE = statement(f"""
    WITH released AS (
        UPDATE account
        SET paused_at = person_paused_at, paused_detail = person_paused_by,
            paused_reason = CASE WHEN person_paused_at IS NOT NULL THEN 'person' END,
            person_paused_at = NULL, person_paused_by = NULL
        WHERE id = :account_id AND paused_reason = 'restore' AND paused_at = :held_at
        RETURNING id, paused_detail, CASE WHEN paused_at IS NULL THEN 'resumed' ELSE 'paused' END AS outcome
    ), {log("'account.' || outcome", "released", _RELEASED_DETAIL, account_id="id")}
    SELECT outcome FROM released
""")


def release_restored(session: Session, account_id: UUID, *, by: str, held_at: datetime) -> str | None:
    """End the pause for the restore detected at `held_at`. Returns `resumed`; `paused` if a person's pause stands; None
    if the account is no longer paused for that restore."""
    values = {"account_id": account_id, "by": by, "held_at": held_at}
    outcome: str | None = session.execute(_RELEASE, values).scalar_one_or_none()
    return outcome
