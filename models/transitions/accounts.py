"""An account's limits and health."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import moves_one, statement
from models.lifecycle import IN_A_ROW, SLOT_WINDOWS
from models.tables.base import new_id

_ENSURE = statement("""
    INSERT INTO account (id, name, slots, submits_per_minute)
    VALUES (:id, :name, :slots, :submits_per_minute)
    ON CONFLICT (name) DO UPDATE
        SET slots = excluded.slots, submits_per_minute = excluded.submits_per_minute
    RETURNING id
""")

_DEFER = statement("""
    WITH deferred AS (
        UPDATE account
        SET deferrals = deferrals + CASE WHEN deferred_until > now() THEN 0 ELSE 1 END,
            deferred_since = CASE
                WHEN deferred_until > now() - CAST(:in_a_row AS interval) THEN deferred_since ELSE now() END,
            deferred_until = greatest(deferred_until, now() + :delay),
            deferred_reason = :reason, deferred_detail = :detail
        WHERE id = :account_id
        RETURNING id, deferrals, deferred_until
    ), told AS (
        INSERT INTO event (kind, account_id, detail)
        SELECT 'account.deferred', id, jsonb_build_object(
            'reason', :reason, 'detail', :detail, 'until', deferred_until, 'in_a_row', deferrals)
        FROM deferred
    )
    SELECT 1 FROM deferred
""")

_COUNT_DEFERRALS = statement("SELECT deferrals FROM account WHERE id = :account_id FOR NO KEY UPDATE")

_CLEAR_DEFERRAL = statement("""
    WITH cleared AS (
        UPDATE account
        SET deferrals = 0, deferred_since = NULL, deferred_until = NULL, deferred_reason = NULL, deferred_detail = NULL
        WHERE id = :account_id AND deferrals > 0
        RETURNING id
    ), told AS (
        INSERT INTO event (kind, account_id) SELECT 'account.recovered', id FROM cleared
    )
    SELECT 1 FROM cleared
""")

_LIMIT_SLOTS = statement("""
    WITH limited AS (
        UPDATE account
        SET limited_at = now(), ahead = 0, effective_slots = greatest(1, (
            SELECT count(*) FROM prediction
            WHERE account_id = account.id AND state IN ('submitting', 'unconfirmed', 'rendering')
        ))
        WHERE id = :account_id
        RETURNING id, effective_slots
    ), told AS (
        INSERT INTO event (kind, account_id, detail)
        SELECT 'account.limited', id, jsonb_build_object('slots', effective_slots) FROM limited
    )
    SELECT 1 FROM limited
""")

_RAISE_SLOTS = statement("""
    UPDATE account
    SET effective_slots = CASE WHEN live.accepted < slots + live.stuck THEN live.accepted END
    FROM (
        SELECT count(*) AS accepted, count(*) FILTER (WHERE watch_windows >= :slot_windows) AS stuck
        FROM prediction
        WHERE account_id = :account_id AND state IN ('rendering', 'unconfirmed')
          AND (state = 'rendering' OR watch_windows >= :slot_windows)
    ) AS live
    WHERE id = :account_id AND effective_slots < live.accepted
    RETURNING 1
""")

_SET_AHEAD = statement("""
    WITH changed AS (
        UPDATE account SET ahead = CAST(:ahead AS bigint)
        WHERE id = :account_id AND ahead <> CAST(:ahead AS bigint)
          AND (CAST(:ahead AS bigint) = 0 OR limited_at IS NULL OR limited_at < now() - CAST(:quiet_for AS interval))
        RETURNING id
    ), told AS (
        INSERT INTO event (kind, account_id, detail)
        SELECT 'account.ahead', id, jsonb_build_object('ahead', CAST(:ahead AS bigint)) FROM changed
    )
    SELECT 1 FROM changed
""")

_COUNT_LOOK_FAILURES = statement("SELECT look_failures FROM account WHERE id = :account_id")

_NOTE_LOOK_FAILURE = statement("""
    UPDATE account
    SET look_failures = look_failures + 1, looks_deferred_until = greatest(looks_deferred_until, now() + :delay)
    WHERE id = :account_id AND (looks_deferred_until IS NULL OR looks_deferred_until <= now())
    RETURNING 1
""")

_CLEAR_LOOK_FAILURES = statement("""
    UPDATE account SET look_failures = 0, looks_deferred_until = NULL
    WHERE id = :account_id AND look_failures > 0 AND looks_deferred_until < now() - :quiet_for
    RETURNING 1
""")


def ensure_account(session: Session, name: str, *, slots: int, submits_per_minute: int) -> UUID:
    """Write the limits of the settings into the account's row, which is made where there is none."""
    limits = {"name": name, "slots": slots, "submits_per_minute": submits_per_minute}
    return UUID(str(session.execute(_ENSURE, {"id": new_id(), **limits}).scalar_one()))


def defer_account(session: Session, account_id: UUID, *, delay: timedelta, reason: str, detail: str) -> bool:
    """Submit nothing before `delay` has passed; deferrals in a row are counted until one submission is accepted."""
    why = {"reason": reason, "detail": detail}
    return moves_one(session, _DEFER, account_id=account_id, delay=delay, in_a_row=IN_A_ROW, **why)


def count_deferrals(session: Session, account_id: UUID) -> int:
    """Refusals in a row; locks the account's row, so that refusals at the same time count one after the other."""
    return int(session.execute(_COUNT_DEFERRALS, {"account_id": account_id}).scalar_one())


def clear_deferral(session: Session, account_id: UUID) -> bool:
    """The account accepts again. Writes nothing where it was healthy."""
    return moves_one(session, _CLEAR_DEFERRAL, account_id=account_id)


def limit_slots(session: Session, account_id: UUID) -> bool:
    """The provider refused one more at once: what is live now is all that it takes, given-back slots included.

    Nothing is submitted ahead from now on, and the refused job has lost nothing.
    """
    return moves_one(session, _LIMIT_SLOTS, account_id=account_id)


def raise_slots(session: Session, account_id: UUID) -> bool:
    """The provider took more at once than we had learned: believe it. Writes nothing where no limit was learned."""
    return moves_one(session, _RAISE_SLOTS, account_id=account_id, slot_windows=SLOT_WINDOWS)


def set_ahead(session: Session, account_id: UUID, *, ahead: int, quiet_for: timedelta) -> bool:
    """Submit so many beyond the slots, unless the provider refused one for its concurrency within `quiet_for`."""
    return moves_one(session, _SET_AHEAD, account_id=account_id, ahead=ahead, quiet_for=quiet_for)


def count_look_failures(session: Session, account_id: UUID) -> int:
    """Failed looks in a row."""
    return int(session.execute(_COUNT_LOOK_FAILURES, {"account_id": account_id}).scalar_one())


def note_look_failure(session: Session, account_id: UUID, *, delay: timedelta) -> bool:
    """Hold all looks of the account for `delay`; failures during a hold are the same failure."""
    return moves_one(session, _NOTE_LOOK_FAILURE, account_id=account_id, delay=delay)


def clear_look_failures(session: Session, account_id: UUID, *, quiet_for: timedelta) -> bool:
    """Forget the failed looks once `quiet_for` has passed without another."""
    return moves_one(session, _CLEAR_LOOK_FAILURES, account_id=account_id, quiet_for=quiet_for)
