"""One attempt at a delivery: begun under its claim, and ended by what the receiver answered."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, find_one, statement
from models.tables.callbacks.endpoint import DisabledReason
from models.transitions.callbacks.endpoints import DISABLED_EVENT

GONE = 410
FAILING = timedelta(days=3)
"""An endpoint for which nothing has succeeded for this long is disabled."""
SUSPECT = timedelta(minutes=1)
"""After a failure, an endpoint shares its threads with others that fail for this long."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery to send, and its endpoint."""

    id: int
    claim: int
    webhook_id: str
    kind: str
    event_id: int | None
    job_id: UUID | None
    attempts: int  # with this one
    created_at: datetime
    endpoint_id: UUID
    failures: int  # of the endpoint, in a row
    url: str = field(repr=False)
    secret: str = field(repr=False)
    old_secret: str | None = field(repr=False)  # null: it does not sign any more


# `due_at`: a worker that was frozen must not extend a lease that it has lost.
_BEGIN = statement("""
    UPDATE delivery SET attempts = attempts + 1, due_at = now() + :lease, attempted_at = now()
    FROM endpoint
    WHERE delivery.id = :delivery_id AND claim = :claim AND claimed_at IS NOT NULL AND due_at > now()
      AND endpoint.id = endpoint_id AND disabled_at IS NULL
    RETURNING delivery.id, claim, webhook_id, kind, event_id, job_id, attempts, delivery.created_at, endpoint_id, url,
        secret, CASE WHEN old_secret_until > now() THEN old_secret END AS old_secret, failures
""")


def begin_attempt(session: Session, delivery_id: int, claim: int, *, lease: timedelta) -> Attempt | None:
    """Begin to send a claimed delivery. Returns None if the claim is stale, or the endpoint was disabled meanwhile."""
    return find_one(session, _BEGIN, Attempt, delivery_id=delivery_id, claim=claim, lease=lease)


class Outcome(NamedTuple):
    """What came of an attempt."""

    status: int | None
    milliseconds: int
    answer: str | None
    error: str | None


_OUTCOME = "claimed_at = NULL, status = :status, milliseconds = :milliseconds, answer = :answer, error = :error"
_IS_CLAIMED = "delivery.id = :delivery_id AND claim = :claim AND claimed_at IS NOT NULL"
_NEXT = """delivery.endpoint_id = ended.endpoint_id AND delivery.job_id = ended.job_id
            AND delivery.event_id > ended.event_id AND delivery.state = 'pending' AND delivery.claimed_at IS NULL"""
"""SQL: the later deliveries of the same job, which wait for this one."""

_SUCCEED = statement(f"""
    WITH ended AS (
        UPDATE delivery SET state = 'delivered', due_at = NULL, ended_at = now(), {_OUTCOME}
        WHERE {_IS_CLAIMED}
        RETURNING *
    ), freed AS (
        UPDATE delivery SET due_at = now() FROM ended WHERE {_NEXT} AND delivery.due_at > now()
    ), recovered AS (
        UPDATE endpoint
        SET failures = 0, failing_since = NULL, held_until = NULL, suspect_until = coalesce(suspect_until, now())
        FROM ended WHERE endpoint.id = endpoint_id AND (failures > 0 OR suspect_until IS NULL)
    )
    SELECT 1 FROM ended
""")


def record_success(session: Session, attempt: Attempt, outcome: Outcome) -> bool:
    """End a delivery as delivered. Its endpoint does not fail any more. Returns False if the claim is stale."""
    values = {"delivery_id": attempt.id, "claim": attempt.claim, **outcome._asdict()}
    return changed_a_row(session, _SUCCEED, **values)


class Failed(NamedTuple):
    """What a failed attempt has led to."""

    is_given_up: bool
    disabled_reason: str | None  # why the endpoint is disabled by now, if it is


class Waits(NamedTuple):
    """How long to wait after a failure; None holds up nothing else that the endpoint gets."""

    delivery: timedelta
    endpoint: timedelta | None


_ENDS = "CAST(:gone AS boolean) OR coalesce(failing_since <= now() - CAST(:failing AS interval), false)"
# Later deliveries of the job wait as long, so that a claim does not find them again and again.
_FAIL = statement(f"""
    WITH ended AS (
        UPDATE delivery
        SET {_OUTCOME}, state = CASE WHEN give_up_at <= now() THEN 'failed' ELSE 'pending' END,
            ended_at = CASE WHEN give_up_at <= now() THEN now() END,
            due_at = CASE WHEN give_up_at > now() THEN least(now() + :wait, give_up_at) END
        WHERE {_IS_CLAIMED}
        RETURNING *
    ), held_up AS (
        UPDATE delivery SET due_at = coalesce(ended.due_at, now()) FROM ended WHERE {_NEXT}
    ), hit AS (
        UPDATE endpoint
        SET failures = failures + 1, failing_since = coalesce(failing_since, now()), suspect_until = now() + :suspect,
            held_until = greatest(held_until, now() + CAST(:hold AS interval)),
            disabled_at = coalesce(disabled_at, CASE WHEN {_ENDS} THEN now() END),
            disabled_reason = coalesce(disabled_reason, CASE WHEN {_ENDS} THEN :reason END)
        FROM ended WHERE endpoint.id = endpoint_id
        RETURNING endpoint.*
    ), logged AS (
        {DISABLED_EVENT} FROM hit WHERE disabled_at = now()
    )
    SELECT ended.state = 'failed' AS is_given_up, disabled_reason FROM ended JOIN hit ON hit.id = endpoint_id
""")


def record_failure(
    session: Session, attempt: Attempt, outcome: Outcome, *, waits: Waits, scale: float = 1.0
) -> Failed | None:
    """Let a delivery wait for its next attempt, or end it as failed. Returns None if the claim is stale.

    The endpoint is disabled if it answered 410, or if it has failed for `FAILING` times `scale`.
    """
    is_gone = outcome.status == GONE
    values = {
        "delivery_id": attempt.id,
        "claim": attempt.claim,
        **outcome._asdict(),
        "wait": waits.delivery,
        "hold": waits.endpoint,
        "suspect": SUSPECT * scale,
        "gone": is_gone,
        "failing": FAILING * scale,
        "reason": (DisabledReason.GONE if is_gone else DisabledReason.FAILING).value,
    }
    return find_one(session, _FAIL, Failed, **values)
