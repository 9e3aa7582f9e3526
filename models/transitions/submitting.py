"""Submit exactly once: decide whether a prediction may be posted, and record the result."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import TextClause
from sqlalchemy.orm import Session

from models.db.rows import JOB_PLACE, as_json, changed_a_row, find_all, find_one, statement
from models.lifecycle import JobState, Reason
from models.transitions.admission import RATE_SLOT_TOLERANCE, ClaimedSubmit
from models.transitions.history import REASON, change, fields, log, refusal
from models.transitions.job_release import EndedAttempt, release_job


def _withdrawal(which: str) -> TextClause:
    return change(
        "prediction",
        "state = 'cancelled', ended_at = now(), due_at = NULL, claim = claim + 1",
        f"{which} AND state = 'submitting' AND posted_at IS NULL",
        kind="'prediction.cancelled'",
        returns="id AS prediction_id, job_id",
    )


def _marking(which: str) -> TextClause:
    return change(
        "prediction",
        """state = 'unconfirmed', due_at = now() + interval '2 seconds', submit_crashed = :crashed,
            error_code = :code, error_message = :message""",
        f"{which} AND state = 'submitting' AND posted_at IS NOT NULL AND provider_id IS NULL",
        kind="'prediction.unconfirmed'",
        detail=REASON,
        returns="id AS prediction_id, job_id, claim",
    )


UPLOAD_USABLE = timedelta(days=6)
"""An upload sent longer ago is sent again. The provider keeps it for seven days."""

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
    provider_failures: int = 0  # requests in a row without a usable answer, when the ticket was given
    place: str = ""  # BATCH/NUMBER, else the job's id


# Without uploads, there are no addresses, and `sent_input` stays null.
_BEGIN = statement(f"""
    WITH begun AS (
        UPDATE prediction
        SET posted_at = clock_timestamp(), due_at = clock_timestamp() + :lease, hook_asked = :hook_asked,
            sent_input = job.input || (
                SELECT jsonb_object_agg(parameter, url) FROM job_upload JOIN sent_upload USING (sha256)
                WHERE job_id = job.id AND account_id = account.id)
        FROM job, account
        WHERE prediction.id = :prediction_id AND prediction.claim = :claim
          AND prediction.state = 'submitting' AND prediction.posted_at IS NULL
          AND job.id = prediction.job_id AND job.cancel_requested_at IS NULL
          AND account.id = prediction.account_id
          AND (account.back_off_until IS NULL OR account.back_off_until <= now())
          AND account.paused_at IS NULL
          AND clock_timestamp() <= prediction.not_before + :tolerance
          AND NOT EXISTS (
              SELECT 1 FROM job_upload AS used LEFT JOIN sent_upload AS sent
                  ON sent.account_id = account.id AND sent.sha256 = used.sha256 AND sent.url IS NOT NULL
                      AND sent.sent_at >= now() - CAST(:usable AS interval)
              WHERE used.job_id = job.id AND sent.sha256 IS NULL)
        RETURNING prediction.id, job_id, account_id, video_model, coalesce(sent_input, input) AS input, back_offs,
            provider_failures
    ), {log("'prediction.posted'", "begun", fields(claim="CAST(:claim AS bigint)"))}
    SELECT id AS prediction_id, job_id, account_id, video_model, input, back_offs, provider_failures, {JOB_PLACE}
    FROM begun
""")


def begin_submit(
    session: Session, prediction_id: UUID, claim: int, *, lease: timedelta, hook_asked: bool = False
) -> SubmitTicket | None:
    """Write `posted_at`. From this commit on, the prediction may have been bought.

    `hook_asked` says that it is posted with an address for a webhook.

    The same statement records the addresses of the job's uploads, which replace them in the input that is sent.

    Returns None if another message was first, the claim is stale, the job was cancelled, the account backs off or is
    paused, the rate slot has passed, or the provider has no usable copy of an upload. The caller then sends the upload,
    or hands the submission back.
    """
    values = {"prediction_id": prediction_id, "claim": claim, "lease": lease, "hook_asked": hook_asked}
    values |= {"tolerance": RATE_SLOT_TOLERANCE, "usable": UPLOAD_USABLE}
    return find_one(session, _BEGIN, SubmitTicket, **values)


_HAND_BACK = statement("""
    UPDATE prediction
    SET not_before = NULL, due_at = greatest(now(), account.back_off_until)
    FROM account
    WHERE prediction.id = :prediction_id AND claim = :claim AND account.id = account_id
      AND state = 'submitting' AND posted_at IS NULL
    RETURNING 1
""")

_WITHDRAW_IF_CANCELLED = _withdrawal("""id = :prediction_id AND claim = :claim
    AND EXISTS (SELECT 1 FROM job WHERE job.id = job_id AND cancel_requested_at IS NOT NULL)""")


def hand_back_submit(session: Session, prediction_id: UUID, claim: int) -> bool:
    """Give a submission that was not begun back to the dispatcher, together with its rate slot.

    If its job is to be cancelled, both end as cancelled: nothing was bought.
    """
    claimed: dict[str, Any] = {"prediction_id": prediction_id, "claim": claim}
    if _withdraw(session, _WITHDRAW_IF_CANCELLED, **claimed):
        return True
    return changed_a_row(session, _HAND_BACK, **claimed)


_WITHDRAW_OF_JOBS = _withdrawal("job_id = ANY(CAST(:ids AS uuid[]))")


def withdraw_submits(session: Session, job_ids: Sequence[UUID], *, by: str | None = None) -> list[UUID]:
    """End the submissions of these jobs that were not posted, and the jobs, as cancelled: nothing was bought.

    `by` names the person. Returns the ids of the jobs.
    """
    return _withdraw(session, _WITHDRAW_OF_JOBS, by=by, ids=job_ids)


def _withdraw(session: Session, query: TextClause, *, by: str | None = None, **values: Any) -> list[UUID]:
    withdrawn = find_all(session, query, EndedAttempt, **values)
    for each in withdrawn:
        release_job(session, each, JobState.CANCELLED, detail={"by": by} if by else None)
    return [each.job_id for each in withdrawn]


_UNPOST = change(
    "prediction",
    "posted_at = NULL, not_before = NULL, due_at = now()",
    "id = :prediction_id AND claim = :claim AND state = 'submitting' AND posted_at IS NOT NULL AND provider_id IS NULL",
    kind="'prediction.not_sent'",
    detail=fields("detail"),
)


def unpost_submit(session: Session, prediction_id: UUID, claim: int, *, detail: str) -> bool:
    """Record that certainly nothing was sent. The submission may be tried again."""
    return changed_a_row(session, _UNPOST, prediction_id=prediction_id, claim=claim, detail=detail)


_POSTPONE = statement("""
    UPDATE prediction SET not_before = NULL, due_at = now() + :delay
    FROM unnest(CAST(:ids AS uuid[]), CAST(:claims AS bigint[])) AS unpublished (id, claim)
    WHERE prediction.id = unpublished.id AND prediction.claim = unpublished.claim
      AND state = 'submitting' AND posted_at IS NULL
    RETURNING 1
""")


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
    values = {"provider_id": provider_id, "provider_created_at": provider_created_at, "watch_window": watch_window}
    return _accept(session, prediction_id, adopted=adopted, must_wait=False, forecast={}, **values)


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
    values = {"provider_id": provider_id, "provider_created_at": provider_created_at, "watch_window": watch_window}
    return _accept(session, prediction_id, adopted=False, must_wait=True, forecast=forecast, **values)


_ACCEPTED_DETAIL = """jsonb_build_object('provider_id', CAST(:provider_id AS text))
            || CASE became WHEN 'rendering' THEN CAST(:forecast AS jsonb) ELSE '{}' END"""

_ACCEPTED_KIND = "'prediction.' || CASE became WHEN 'cancelled' THEN 'accepted_late' ELSE became END"

# A row that was marked not found or refused becomes a duplicate purchase, because its job may have bought another one.
# Its render may have ended long ago, so it is checked now.
_ACCEPT = statement(f"""
    WITH accepted AS (
        UPDATE prediction
        SET provider_id = :provider_id, provider_created_at = :provider_created_at, accepted_at = now(),
            adopted_at = CASE WHEN :adopted THEN now() END,
            error_code = NULL, error_message = NULL,
            state = CASE WHEN state = 'cancelled' THEN state ELSE 'rendering' END,
            due_at = CASE WHEN state <> 'cancelled' THEN now() + :watch_window END,
            ended_at = CASE WHEN state = 'cancelled' THEN ended_at END,
            is_duplicate = state IN ('not_found', 'refused'),
            early_check_at = CASE WHEN state IN ('not_found', 'refused') THEN now() END
        WHERE id = :prediction_id AND provider_id IS NULL
          AND (NOT :must_wait OR state IN ('submitting', 'unconfirmed'))
        RETURNING id, job_id, account_id, CASE WHEN is_duplicate THEN 'duplicate' ELSE state END AS became
    ), {log(_ACCEPTED_KIND, "accepted", _ACCEPTED_DETAIL)}, explained AS (  -- a row has it now
        DELETE FROM unknown_prediction USING accepted
        WHERE unknown_prediction.account_id = accepted.account_id AND unknown_prediction.provider_id = :provider_id
    )
    SELECT became FROM accepted
""")


def _accept(session: Session, prediction_id: UUID, *, forecast: Mapping[str, Any], **values: Any) -> str | None:
    values |= {"prediction_id": prediction_id, "forecast": as_json(forecast)}
    state: str | None = session.execute(_ACCEPT, values).scalar_one_or_none()
    return state


_REFUSE = refusal("state IN ('submitting', 'unconfirmed') AND posted_at IS NOT NULL AND provider_id IS NULL")


def refuse_submit(session: Session, prediction_id: UUID, claim: int, *, reason: Reason, fails_job: bool) -> bool:
    """The provider refused the POST and sold nothing. The job fails, or is queued again if it is not at fault."""
    claimed = {"prediction_id": prediction_id, "claim": claim}
    refused = find_one(session, _REFUSE, EndedAttempt, **claimed, **reason._asdict())
    if refused is None:
        return False
    if fails_job:
        release_job(session, refused, JobState.FAILED, reason=reason)
    else:
        release_job(session, refused, JobState.QUEUED)
    return True


_MARK_ONE_UNCONFIRMED = _marking("id = :prediction_id AND claim = :claim")


def mark_unconfirmed(session: Session, prediction_id: UUID, claim: int, *, message: str) -> bool:
    """The answer to the POST is not known. The submission is not sent again before it has been searched for."""
    values = {"prediction_id": prediction_id, "claim": claim, "message": message}
    return changed_a_row(session, _MARK_ONE_UNCONFIRMED, code="outcome_unknown", crashed=False, **values)


_MARK_OVERDUE_UNCONFIRMED = _marking("""id IN (
    SELECT id FROM prediction
    WHERE state = 'submitting' AND posted_at IS NOT NULL AND provider_id IS NULL AND due_at <= now()
    FOR UPDATE SKIP LOCKED)""")


def mark_overdue_unconfirmed(session: Session) -> list[ClaimedSubmit]:
    """Mark submissions as unconfirmed if their worker died or froze after it had written `posted_at`."""
    crash = {"code": "worker_crashed", "message": "the worker that posted it crashed", "crashed": True}
    return find_all(session, _MARK_OVERDUE_UNCONFIRMED, ClaimedSubmit, **crash)
