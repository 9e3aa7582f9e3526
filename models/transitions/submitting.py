"""Submit exactly once: decide whether a prediction may be posted, and record the result."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import as_json, changed_a_row, find_all, find_one, statement
from models.lifecycle import Reason
from models.transitions.admission import RATE_SLOT_TOLERANCE, ClaimedSubmit

_BEGIN = statement("""
    WITH begun AS (
        UPDATE prediction
        SET posted_at = clock_timestamp(), due_at = clock_timestamp() + :lease, hook_asked = :hook_asked
        FROM job, account
        WHERE prediction.id = :prediction_id AND prediction.claim = :claim
          AND prediction.state = 'submitting' AND prediction.posted_at IS NULL
          AND job.id = prediction.job_id AND job.cancel_requested_at IS NULL
          AND account.id = prediction.account_id
          AND (account.back_off_until IS NULL OR account.back_off_until <= now())
          AND account.paused_at IS NULL
          AND clock_timestamp() <= prediction.not_before + :tolerance
        RETURNING prediction.id, job_id, account_id, video_model, input, back_offs
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'prediction.posted', job_id, id, jsonb_build_object('claim', CAST(:claim AS bigint)) FROM begun
    )
    SELECT id, job_id, account_id, video_model, input, back_offs FROM begun
""")

_WITHDRAW = statement("""
    WITH withdrawn AS (
        UPDATE prediction SET state = 'cancelled', ended_at = now(), due_at = NULL
        FROM job
        WHERE prediction.id = :prediction_id AND prediction.claim = :claim
          AND prediction.state = 'submitting' AND posted_at IS NULL
          AND job.id = job_id AND cancel_requested_at IS NOT NULL
        RETURNING prediction.id, job_id
    ), cancelled AS (
        UPDATE job SET state = 'cancelled', ended_at = now()
        FROM withdrawn WHERE job.id = withdrawn.job_id AND job.state = 'rendering'
        RETURNING job.id
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id)
        SELECT 'prediction.cancelled', job_id, id FROM withdrawn
        UNION ALL
        SELECT 'job.cancelled', cancelled.id, withdrawn.id FROM cancelled, withdrawn
    )
    SELECT 1 FROM withdrawn
""")

_HAND_BACK = statement("""
    UPDATE prediction
    SET not_before = NULL, due_at = greatest(now(), account.back_off_until)
    FROM account
    WHERE prediction.id = :prediction_id AND claim = :claim AND account.id = account_id
      AND state = 'submitting' AND posted_at IS NULL
    RETURNING 1
""")

_UNPOST = statement("""
    WITH unposted AS (
        UPDATE prediction SET posted_at = NULL, not_before = NULL, due_at = now()
        WHERE id = :prediction_id AND claim = :claim AND state = 'submitting'
          AND posted_at IS NOT NULL AND provider_id IS NULL
        RETURNING id, job_id
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, detail)
        SELECT 'prediction.not_sent', job_id, id, jsonb_build_object('detail', CAST(:detail AS text)) FROM unposted
    )
    SELECT 1 FROM unposted
""")

_POSTPONE = statement("""
    UPDATE prediction SET not_before = NULL, due_at = now() + :delay
    FROM unnest(CAST(:ids AS uuid[]), CAST(:claims AS bigint[])) AS unpublished (id, claim)
    WHERE prediction.id = unpublished.id AND prediction.claim = unpublished.claim
      AND state = 'submitting' AND posted_at IS NULL
    RETURNING 1
""")

_ACCEPT = statement("""
    WITH accepted AS (
        UPDATE prediction
        SET provider_id = :provider_id, provider_created_at = :provider_created_at, accepted_at = now(),
            adopted_at = CASE WHEN :adopted THEN now() END,
            error_code = NULL, error_message = NULL,
            state = CASE WHEN state = 'cancelled' THEN state ELSE 'rendering' END,
            due_at = CASE WHEN state <> 'cancelled' THEN now() + :watch_window END,
            ended_at = CASE WHEN state = 'cancelled' THEN ended_at END,
            -- Its job may have bought another one meanwhile. It may have ended long ago: check it now.
            is_duplicate = state IN ('not_found', 'refused'),
            early_check_at = CASE WHEN state IN ('not_found', 'refused') THEN now() END
        WHERE id = :prediction_id AND provider_id IS NULL
          AND (NOT :must_wait OR state IN ('submitting', 'unconfirmed'))
        RETURNING id, job_id, account_id, CASE WHEN is_duplicate THEN 'duplicate' ELSE state END AS became
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.' || CASE became WHEN 'cancelled' THEN 'accepted_late' ELSE became END,
            job_id, id, account_id, jsonb_build_object('provider_id', :provider_id)
                || CASE WHEN became = 'rendering' THEN CAST(:forecast AS jsonb) ELSE '{}' END
        FROM accepted
    ), explained AS (
        DELETE FROM unknown_prediction USING accepted
        WHERE unknown_prediction.account_id = accepted.account_id AND unknown_prediction.provider_id = :provider_id
    )
    SELECT became FROM accepted
""")

_REFUSE = statement("""
    WITH refused AS (
        UPDATE prediction
        SET state = 'refused', ended_at = now(), due_at = NULL, error_code = :code, error_message = :message
        WHERE id = :prediction_id AND claim = :claim AND state IN ('submitting', 'unconfirmed')
          AND posted_at IS NOT NULL AND provider_id IS NULL
        RETURNING id, job_id, account_id
    ), freed AS (
        UPDATE job
        SET state = CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                    WHEN :fails_job THEN 'failed' ELSE 'queued' END,
            due_at = CASE WHEN cancel_requested_at IS NULL AND NOT :fails_job THEN now() END,
            ended_at = CASE WHEN cancel_requested_at IS NOT NULL OR :fails_job THEN now() END,
            error_code = CASE WHEN :fails_job THEN :code END,
            error_message = CASE WHEN :fails_job THEN :message END
        FROM refused WHERE job.id = refused.job_id AND job.state = 'rendering'
        RETURNING job.id, job.state
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.refused', job_id, id, account_id,
            jsonb_build_object('code', CAST(:code AS text), 'message', CAST(:message AS text)) FROM refused
        UNION ALL
        SELECT 'job.' || freed.state, freed.id, refused.id, NULL, '{}' FROM freed, refused
    )
    SELECT 1 FROM refused
""")

WORKER_CRASHED = "worker_crashed"
"""Code of a submission that became unconfirmed because its worker crashed, not because of an answer."""

_MARK_UNCONFIRMED = """
    WITH marked_unconfirmed AS (
        UPDATE prediction
        SET state = 'unconfirmed', due_at = now() + interval '2 seconds',
            error_code = :code, error_message = :message
        WHERE {which} AND state = 'submitting' AND posted_at IS NOT NULL AND provider_id IS NULL
        RETURNING id, job_id, account_id, claim
    ), logged AS (
        INSERT INTO event (kind, job_id, prediction_id, account_id, detail)
        SELECT 'prediction.unconfirmed', job_id, id, account_id,
            jsonb_build_object('code', CAST(:code AS text), 'message', CAST(:message AS text)) FROM marked_unconfirmed
    )
    SELECT id, job_id, claim FROM marked_unconfirmed
"""
_MARK_ONE_UNCONFIRMED = statement(_MARK_UNCONFIRMED.format(which="id = :prediction_id AND claim = :claim"))
_MARK_OVERDUE_UNCONFIRMED = statement(
    _MARK_UNCONFIRMED.format(
        which="""id IN (
            SELECT id FROM prediction
            WHERE state = 'submitting' AND posted_at IS NOT NULL AND provider_id IS NULL AND due_at <= now()
            FOR UPDATE SKIP LOCKED
        )"""
    )
)


DUPLICATE = "duplicate"
"""What `accept_prediction` returns for a row that becomes a duplicate purchase."""


class SubmitTicket(NamedTuple):
    """The right to send one POST, once."""

    prediction_id: UUID
    job_id: UUID
    account_id: UUID
    video_model: str
    input: dict[str, Any]
    back_offs: int  # refusals in a row when the ticket was given; above 0, this submission probes


def begin_submit(
    session: Session, prediction_id: UUID, claim: int, *, lease: timedelta, hook_asked: bool = False
) -> SubmitTicket | None:
    """Write `posted_at`. From this commit on, the prediction may have been bought.

    `hook_asked` says that it is posted with an address for a webhook.

    Returns None if another message was first, the claim is stale, the job was cancelled, the account backs off or is
    paused, or the rate slot has passed. The caller then hands the submission back.
    """
    values = {"prediction_id": prediction_id, "claim": claim, "lease": lease, "hook_asked": hook_asked}
    return find_one(session, _BEGIN, SubmitTicket, tolerance=RATE_SLOT_TOLERANCE, **values)


def hand_back_submit(session: Session, prediction_id: UUID, claim: int) -> bool:
    """Give a submission that was not begun back to the dispatcher, together with its rate slot.

    If its job is to be cancelled, both end as cancelled: nothing was bought.
    """
    if changed_a_row(session, _WITHDRAW, prediction_id=prediction_id, claim=claim):
        return True
    return changed_a_row(session, _HAND_BACK, prediction_id=prediction_id, claim=claim)


def unpost_submit(session: Session, prediction_id: UUID, claim: int, *, detail: str) -> bool:
    """Record that certainly nothing was sent. The submission may be tried again."""
    return changed_a_row(session, _UNPOST, prediction_id=prediction_id, claim=claim, detail=detail)


def postpone_submits(session: Session, claimed: Sequence[ClaimedSubmit], *, delay: timedelta) -> int:
    """Give back claimed submissions whose messages could not be published. Returns how many."""
    ids, claims = [each.prediction_id for each in claimed], [each.claim for each in claimed]
    return len(session.execute(_POSTPONE, {"ids": ids, "claims": claims, "delay": delay}).all())


def accept_prediction(
    session: Session,
    prediction_id: UUID,
    *,
    provider_id: str,
    provider_created_at: datetime | None,
    watch_window: timedelta,
    adopted: bool = False,
) -> str | None:
    """Record that the provider accepted the prediction, whatever its claim or state; the new state follows from that.

    `adopted` says that its id was found in the provider's list and did not come with the answer to the POST. The
    prediction is removed from the unknown predictions.

    Returns the new state, or `DUPLICATE` if the row had been marked not found or refused: it then renders as a
    duplicate purchase. Returns None if a provider id was known already.
    """
    values = {
        "prediction_id": prediction_id,
        "provider_id": provider_id,
        "provider_created_at": provider_created_at,
        "watch_window": watch_window,
        "adopted": adopted,
        "must_wait": False,
        "forecast": as_json({}),
    }
    state: str | None = session.execute(_ACCEPT, values).scalar_one_or_none()
    return state


def accept_answer(
    session: Session,
    prediction_id: UUID,
    *,
    provider_id: str,
    provider_created_at: datetime | None,
    watch_window: timedelta,
    forecast: Mapping[str, Any],
) -> str | None:
    """Like `accept_prediction`, by the answer to the POST. The render begins now, so its event holds `forecast`.

    Also returns None if the row no longer waits for an answer. Its job may have been queued again; the job's state then
    decides what the answer means.
    """
    values = {
        "prediction_id": prediction_id,
        "provider_id": provider_id,
        "provider_created_at": provider_created_at,
        "watch_window": watch_window,
        "adopted": False,
        "must_wait": True,
        "forecast": as_json(forecast),
    }
    state: str | None = session.execute(_ACCEPT, values).scalar_one_or_none()
    return state


def refuse_submit(session: Session, prediction_id: UUID, claim: int, *, reason: Reason, fails_job: bool) -> bool:
    """The provider refused the POST and sold nothing. The job fails, or is queued again if it is not at fault."""
    values = {"prediction_id": prediction_id, "claim": claim} | reason._asdict()
    return changed_a_row(session, _REFUSE, fails_job=fails_job, **values)


def mark_unconfirmed(session: Session, prediction_id: UUID, claim: int, *, message: str) -> bool:
    """The answer to the POST is not known. The submission is not sent again before it has been searched for."""
    values = {"prediction_id": prediction_id, "claim": claim, "message": message}
    return changed_a_row(session, _MARK_ONE_UNCONFIRMED, code="outcome_unknown", **values)


def mark_overdue_unconfirmed(session: Session) -> list[ClaimedSubmit]:
    """Mark submissions as unconfirmed if their worker died or froze after it had written `posted_at`."""
    message = "the worker that posted it crashed"
    return find_all(session, _MARK_OVERDUE_UNCONFIRMED, ClaimedSubmit, code=WORKER_CRASHED, message=message)
