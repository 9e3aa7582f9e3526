"""Which row a purchase belongs to: by the provider's answer, by a search of the provider's list, or by a person's
decision."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.lifecycle import SLOT_WINDOWS, PredictionState, Reason
from models.tables.base import new_id
from models.transitions.history import fields, log
from models.transitions.reconciling.runs import mark_not_found
from models.transitions.submitting import accept_prediction
from models.transitions.watching.renders import end_prediction

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


_INSERT_POSTED = statement(f"""
    WITH taken AS (
        UPDATE job SET state = 'rendering', due_at = NULL
        WHERE id = :job_id AND state = 'queued' AND cancel_requested_at IS NULL
        RETURNING id, price
    ), born AS (
        INSERT INTO prediction (id, job_id, account_id, attempt, price, due_at, posted_at)
        SELECT :id, id, :account_id,
            1 + (SELECT count(*) FROM prediction AS earlier WHERE earlier.job_id = taken.id), price, now(),
            coalesce(CAST(:posted_at AS timestamptz), now())
        FROM taken
        RETURNING id, job_id, account_id, attempt
    ), {log("'prediction.created'", "born", fields("why", attempt="attempt"))}
    SELECT id FROM born
""")


def insert_posted(
    session: Session, account_id: UUID, job_id: UUID, *, posted_at: datetime | None, named: UUID | None = None
) -> UUID | None:
    """Make a row for a purchase of a queued job, if a restore lost its row. `posted_at` is when the provider created
    it, and `named` the id of the lost row, if known. The caller continues with `accept_prediction` in the same
    transaction. Returns None if the job has moved meanwhile."""
    new = {"id": named or new_id(), "job_id": job_id, "account_id": account_id, "posted_at": posted_at}
    why = "bought already: the provider shows it"
    born: UUID | None = session.execute(_INSERT_POSTED, {**new, "why": why}).scalar_one_or_none()
    return born


_POST_FOUND = statement("""
    UPDATE prediction
    SET posted_at = coalesce(CAST(:posted_at AS timestamptz), now()), claim = claim + 1, due_at = now()
    WHERE id = :prediction_id AND state = 'submitting' AND posted_at IS NULL AND provider_id IS NULL
    RETURNING id
""")


def post_found(session: Session, prediction_id: UUID, *, posted_at: datetime | None) -> UUID | None:
    """Do the same by the row of the job's submission that is not posted yet. Returns None if it has moved meanwhile."""
    posted = changed_a_row(session, _POST_FOUND, prediction_id=prediction_id, posted_at=posted_at)
    return prediction_id if posted else None


# Another process may create this row, or another purchase of the job, at the same instant. The next run then sees it.
_RECORD = statement(f"""
    WITH born AS (
        INSERT INTO prediction (id, job_id, account_id, attempt, state, is_duplicate, price, due_at, posted_at,
            provider_id, provider_created_at, accepted_at, adopted_at, early_check_at)
        SELECT :id, job.id, :account_id,
            1 + (SELECT count(*) FROM prediction AS earlier WHERE earlier.job_id = job.id), 'rendering', true, price,
            now() + :watch_window, coalesce(CAST(:created_at AS timestamptz), now()), :provider_id, :created_at,
            now(), now(), now()
        FROM job WHERE job.id = :job_id
        ON CONFLICT DO NOTHING
        RETURNING id, job_id, account_id
    ), {log("'prediction.duplicate'", "born", fields("provider_id", "why"))}, explained AS (  -- it has a row now
        DELETE FROM unknown_prediction USING born
        WHERE unknown_prediction.account_id = born.account_id AND unknown_prediction.provider_id = :provider_id
    )
    SELECT id FROM born
""")


def record_duplicate(
    session: Session,
    account_id: UUID,
    job_id: UUID,
    *,
    provider_id: str,
    provider_created_at: datetime | None,
    watch_window: timedelta,
) -> UUID | None:
    """Give a row to a purchase for a job that `is_unwanted`. It is watched and stored as a duplicate purchase; its job
    is left alone. Returns None and writes nothing if a row already has this prediction, or if the job is gone."""
    new = {"id": new_id(), "job_id": job_id, "account_id": account_id, "watch_window": watch_window}
    shown = {"provider_id": provider_id, "created_at": provider_created_at}
    why = "its webhook names a job that has another one"
    born: UUID | None = session.execute(_RECORD, {**new, **shown, "why": why}).scalar_one_or_none()
    return born


# Runs after the prediction was written, because predictions are locked before jobs. The lock prevents changes to the
# job.
_UNWANTED = statement("""
    SELECT 1 FROM job
    WHERE id = :job_id AND NOT (state = 'queued' AND cancel_requested_at IS NULL)
      AND NOT EXISTS (
          SELECT 1 FROM prediction
          WHERE job_id = job.id AND prediction.state = 'submitting' AND posted_at IS NULL)
    FOR NO KEY UPDATE
""")


def is_unwanted(session: Session, job_id: UUID) -> bool:
    """Whether the job needs no purchase. If so, it stays as it is until the end of the transaction."""
    return changed_a_row(session, _UNWANTED, job_id=job_id)


# The lock prevents changes to the unconfirmed submission until the next transition in the same transaction.
_DECIDE = statement(f"""
    WITH held AS (
        SELECT id, job_id, account_id FROM prediction
        WHERE id = :prediction_id AND state = 'unconfirmed' AND provider_id IS NULL
          AND NOT EXISTS (
              SELECT 1 FROM prediction AS other
              WHERE other.account_id = prediction.account_id AND other.provider_id = CAST(:provider_id AS text))
        FOR UPDATE
    ), {log("'submission.decided'", "held", f"jsonb_strip_nulls({fields('how', 'by', 'provider_id')})")}
    SELECT 1 FROM held
""")


def adopt_unconfirmed(
    session: Session, prediction_id: UUID, *, provider_id: str, watch_window: timedelta, by: str
) -> bool:
    """A person assigns one of the provider's predictions to this unconfirmed submission. Returns False if it is not
    unconfirmed or another row has that id; the unique constraint decides a race for the id."""
    decision = {"how": "adopted", "by": by, "provider_id": provider_id}
    if not changed_a_row(session, _DECIDE, prediction_id=prediction_id, **decision):
        return False
    state = accept_prediction(
        session,
        prediction_id,
        provider_id=provider_id,
        provider_created_at=None,
        watch_window=watch_window,
        adopted=True,
    )
    return state is not None


def dismiss_unconfirmed(session: Session, prediction_id: UUID, *, by: str) -> bool:
    """A person states that nothing was bought. The effect is the same as if it had been searched for and not found."""
    decision = {"how": "not_found", "by": by, "provider_id": None}
    if not changed_a_row(session, _DECIDE, prediction_id=prediction_id, **decision):
        return False
    return mark_not_found(session, prediction_id, why="a person decided", decided=True)


_ABANDON_DETAIL = fields("by", provider_id="provider_id", price="CAST(price AS text)", windows="watch_windows")

_ABANDON = statement(f"""
    WITH held AS (
        SELECT id, job_id, account_id, claim, provider_id, price, watch_windows FROM prediction
        WHERE id = :prediction_id AND state = 'rendering' AND watch_windows >= 1
        FOR UPDATE
    ), {log("'prediction.abandoned'", "held", _ABANDON_DETAIL)}
    SELECT claim FROM held
""")


def abandon_prediction(session: Session, prediction_id: UUID, *, by: str) -> bool:
    """A person gives up a render that outlived a watch window. It ends as `lost`, counts as spent and frees its slot.

    Its job is queued again if it has attempts left. The claim is read under the lock, so no check can intervene.
    """
    claim = session.execute(_ABANDON, {"prediction_id": prediction_id, "by": by}).scalar_one_or_none()
    if claim is None:
        return False
    reason = Reason("abandoned", "a person gave this render up; it may still be billed")
    return end_prediction(
        session, prediction_id, claim, state=PredictionState.LOST, reason=reason, resubmit_after=timedelta(0)
    )
