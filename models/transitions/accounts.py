"""An account's limits and health."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.lifecycle import IN_A_ROW, SLOT_WINDOWS, UNREACHABLE_AFTER
from models.tables.base import new_id
from models.transitions.history import change, fields

_ENSURE = statement("""
    INSERT INTO account (id, name, slots, submits_per_minute, max_spend_per_day)
    VALUES (:id, :name, :slots, :submits_per_minute, :max_spend_per_day)
    ON CONFLICT (name) DO UPDATE
        SET slots = excluded.slots, submits_per_minute = excluded.submits_per_minute,
            max_spend_per_day = excluded.max_spend_per_day
    RETURNING id
""")


def ensure_account(
    session: Session, name: str, *, slots: int, submits_per_minute: int, max_spend_per_day: Decimal | None = None
) -> UUID:
    """Write the limits from the settings into the account's row. Creates the row if there is none."""
    limits = {
        "name": name,
        "slots": slots,
        "submits_per_minute": submits_per_minute,
        "max_spend_per_day": max_spend_per_day,
    }
    return UUID(str(session.execute(_ENSURE, {"id": new_id(), **limits}).scalar_one()))


_BACK_OFF = change(
    "account",
    """back_offs = back_offs + CASE WHEN back_off_until > now() THEN 0 ELSE 1 END,
        back_off_since = CASE
            WHEN back_off_until > now() - CAST(:in_a_row AS interval) THEN back_off_since ELSE now() END,
        back_off_until = greatest(back_off_until, now() + :delay),
        back_off_reason = :reason, back_off_detail = :detail""",
    "id = :account_id",
    kind="'account.backed_off'",
    detail=fields("reason", "detail", until="back_off_until", in_a_row="back_offs"),
)


def back_off_account(session: Session, account_id: UUID, *, delay: timedelta, reason: str, detail: str) -> bool:
    """Submit nothing until `delay` has passed. Back-offs in a row are counted until one submission is accepted."""
    why = {"reason": reason, "detail": detail}
    return changed_a_row(session, _BACK_OFF, account_id=account_id, delay=delay, in_a_row=IN_A_ROW, **why)


_COUNT_BACK_OFFS = statement("SELECT back_offs FROM account WHERE id = :account_id FOR NO KEY UPDATE")


def count_back_offs(session: Session, account_id: UUID) -> int:
    """Refusals in a row. Locks the account's row, so that simultaneous refusals are counted one after the other."""
    return int(session.execute(_COUNT_BACK_OFFS, {"account_id": account_id}).scalar_one())


_CLEAR_BACK_OFF = change(
    "account",
    "back_offs = 0, back_off_since = NULL, back_off_until = NULL, back_off_reason = NULL, back_off_detail = NULL",
    "id = :account_id AND back_offs > 0",
    kind="'account.recovered'",
)


def clear_back_off(session: Session, account_id: UUID) -> bool:
    """Record that the account accepts submissions again. Writes nothing if it was healthy."""
    return changed_a_row(session, _CLEAR_BACK_OFF, account_id=account_id)


_LIMIT_SLOTS = change(
    "account",
    """limited_at = now(), overcommit = 0, effective_slots = greatest(1, (
            SELECT count(*) FROM prediction
            WHERE account_id = account.id AND state IN ('submitting', 'unconfirmed', 'rendering')))""",
    "id = :account_id",
    kind="'account.limited'",
    detail=fields(slots="effective_slots"),
)


def limit_slots(session: Session, account_id: UUID) -> bool:
    """The provider refused a submission for its concurrency: limit the slots to the predictions that are live now.

    Predictions that gave their slot back count, too. From now on, nothing is overcommitted. The refused job loses
    nothing.
    """
    return changed_a_row(session, _LIMIT_SLOTS, account_id=account_id)


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


def raise_slots(session: Session, account_id: UUID) -> bool:
    """Raise the learned limit if the provider runs more renders than it allows. Writes nothing without such a limit."""
    return changed_a_row(session, _RAISE_SLOTS, account_id=account_id, slot_windows=SLOT_WINDOWS)


_SET_OVERCOMMIT = change(
    "account",
    "overcommit = CAST(:overcommit AS bigint)",
    """id = :account_id AND overcommit <> CAST(:overcommit AS bigint) AND (CAST(:overcommit AS bigint) = 0
        OR limited_at IS NULL OR limited_at < now() - CAST(:quiet_for AS interval))""",
    kind="'account.overcommit'",
    detail=fields(overcommit="overcommit"),
)


def set_overcommit(session: Session, account_id: UUID, *, overcommit: int, quiet_for: timedelta) -> bool:
    """Submit `overcommit` renders beyond the slots, unless a concurrency 429 came within the last `quiet_for`."""
    return changed_a_row(session, _SET_OVERCOMMIT, account_id=account_id, overcommit=overcommit, quiet_for=quiet_for)


_COUNT_CHECK_FAILURES = statement("SELECT check_failures FROM account WHERE id = :account_id")


def count_check_failures(session: Session, account_id: UUID) -> int:
    """Failed checks in a row."""
    return int(session.execute(_COUNT_CHECK_FAILURES, {"account_id": account_id}).scalar_one())


_NOTE_CHECK_FAILURE = statement("""
    UPDATE account
    SET check_failures = check_failures + 1, check_back_off_until = greatest(check_back_off_until, now() + :delay)
    WHERE id = :account_id AND (check_back_off_until IS NULL OR check_back_off_until <= now())
    RETURNING 1
""")


def note_check_failure(session: Session, account_id: UUID, *, delay: timedelta) -> bool:
    """Hold all checks of the account for `delay`. Failures during a hold do not count again."""
    return changed_a_row(session, _NOTE_CHECK_FAILURE, account_id=account_id, delay=delay)


_CLEAR_CHECK_FAILURES = statement("""
    UPDATE account SET check_failures = 0, check_back_off_until = NULL
    WHERE id = :account_id AND check_failures > 0 AND check_back_off_until < now() - :quiet_for
    RETURNING 1
""")


def clear_check_failures(session: Session, account_id: UUID, *, quiet_for: timedelta) -> bool:
    """Reset the count of failed checks once `quiet_for` has passed since the hold without another failure."""
    return changed_a_row(session, _CLEAR_CHECK_FAILURES, account_id=account_id, quiet_for=quiet_for)


_IN_A_ROW = """(provider_failures > 0
        AND greatest(provider_failed_at, check_back_off_until, back_off_until) > now() - CAST(:in_a_row AS interval))"""

# Requests that were under way together count once. Not now(): the next request may begin before this transaction ends.
_NOTE_PROVIDER_FAILURE = statement(f"""
    WITH noted AS (
        UPDATE account
        SET provider_failures = CASE WHEN {_IN_A_ROW} THEN provider_failures + 1 ELSE 1 END,
            provider_failing_since = CASE WHEN {_IN_A_ROW} THEN provider_failing_since ELSE clock_timestamp() END,
            provider_failed_at = clock_timestamp(), provider_failure = :failure
        WHERE id = :account_id
          AND (provider_failed_at IS NULL OR provider_failed_at < clock_timestamp() - make_interval(secs => :elapsed))
        RETURNING provider_failures
    )
    SELECT coalesce((SELECT provider_failures FROM noted), provider_failures) FROM account WHERE id = :account_id
""")


def note_provider_failure(session: Session, account_id: UUID, *, failure: str, elapsed: float) -> int:
    """Record that a request, made `elapsed` seconds ago, got no usable answer. Returns how many failed in a row.

    `UNREACHABLE_AFTER` of them are an outage of the provider.
    """
    values = {"account_id": account_id, "failure": failure, "elapsed": elapsed, "in_a_row": IN_A_ROW}
    return int(session.execute(_NOTE_PROVIDER_FAILURE, values).scalar_one())


_CLEAR_PROVIDER_FAILURES = statement("""
    UPDATE account
    SET provider_failures = 0, provider_failing_since = NULL, provider_failed_at = NULL, provider_failure = NULL,
        check_back_off_until = CASE WHEN provider_failures >= :outage THEN least(check_back_off_until, now())
            ELSE check_back_off_until END,
        back_off_until = CASE WHEN provider_failures >= :outage AND back_off_reason = 'unreachable'
            THEN least(back_off_until, now()) ELSE back_off_until END
    WHERE id = :account_id AND provider_failures > 0
    RETURNING 1
""")


def clear_provider_failures(session: Session, account_id: UUID) -> bool:
    """Record that the provider has answered a request. Writes nothing if the previous one was answered too.

    After an outage, checks and one submission are tried at once, whatever remains of their waits.
    """
    return changed_a_row(
        session, _CLEAR_PROVIDER_FAILURES, account_id=account_id, outage=UNREACHABLE_AFTER
    ) and _release_held(session, account_id)


_RELEASE_HELD = statement("""
    UPDATE prediction SET due_at = now()
    WHERE id IN (
        SELECT prediction.id FROM prediction JOIN account ON account.id = account_id
        WHERE account_id = :account_id AND state = 'submitting' AND posted_at IS NULL AND not_before IS NULL
          AND due_at > now() AND coalesce(back_off_until <= now(), true)
        FOR UPDATE OF prediction SKIP LOCKED)
""")


def _release_held(session: Session, account_id: UUID) -> bool:
    """Make submissions due that waited for a back-off which is now over."""
    session.execute(_RELEASE_HELD, {"account_id": account_id})
    return True


_RETRY = change(
    "account",
    """back_off_until = least(back_off_until, now()), check_back_off_until = least(check_back_off_until, now()),
        reconcile_until = least(reconcile_until, now()), outputs_probe_at = least(outputs_probe_at, now())""",
    "id = :account_id",
    kind="'account.retried'",
    detail=fields("by"),
)


def retry_account(session: Session, account_id: UUID, *, by: str) -> bool:
    """A person ends the account's waits: submissions, checks, searches and probes of the output host are due now."""
    return changed_a_row(session, _RETRY, account_id=account_id, by=by) and _release_held(session, account_id)


# Skips a row that another transaction has locked, so that it never waits.
_PROVE_WRITABLE = statement("""
    UPDATE account SET name = name WHERE id IN (SELECT id FROM account LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
""")


def prove_writable(session: Session) -> None:
    """Make a write that changes nothing. A standby, or a server that has become read-only, refuses it."""
    session.execute(_PROVE_WRITABLE)


_RECORD_STORE = statement("UPDATE account SET store_marker = :marker WHERE store_marker IS NULL RETURNING 1")


def record_store_marker(session: Session, marker: str) -> bool:
    """Record which folder keeps the videos. Returns False if one is recorded, or before there is an account."""
    return changed_a_row(session, _RECORD_STORE, marker=marker)


_ACCEPT_STORE = change(
    "account",
    "store_marker = NULL",
    "id = :account_id AND store_marker IS NOT NULL",
    kind="'account.store_accepted'",
    detail=fields("by"),
)


def accept_store(session: Session, account_id: UUID, *, by: str) -> bool:
    """A person accepts the current folder. Store workers mark it and record its marker within seconds."""
    return changed_a_row(session, _ACCEPT_STORE, account_id=account_id, by=by)
