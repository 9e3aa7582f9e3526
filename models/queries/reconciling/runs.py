"""The reads of a reconciliation run over unconfirmed submissions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement


class Posted(NamedTuple):
    """A submission that was posted and has no provider id."""

    prediction_id: UUID
    job_id: UUID
    video_model: str
    input: dict[str, Any]
    posted_at: datetime
    state: str
    is_due: bool  # its answer may still come, or it is searched for now
    is_wanted: bool  # its job waits to be bought (again)


class ControlPrediction(NamedTuple):
    """A prediction that was accepted near another one. Any list of the same account shows it."""

    prediction_id: UUID  # the other prediction
    provider_id: str
    created_at: datetime  # by the provider's clock
    is_earlier: bool  # accepted before the other prediction


class UnconfirmedSubmission(NamedTuple):
    """An unconfirmed submission as shown to a person. `reason` says what is known."""

    prediction_id: UUID
    job_id: UUID
    batch: str | None
    video_model: str
    input: dict[str, Any]
    price: Decimal
    posted_at: datetime
    needs_person: bool
    reason: str


class Offsets(NamedTuple):
    """Observed offsets between the provider's clock and ours; None before anything was accepted."""

    after_post: timedelta | None  # smallest of created - posted
    after_answer: timedelta | None  # largest of created - accepted


_POSTED = statement("""
    SELECT prediction.id AS prediction_id, job_id, video_model, input, posted_at, prediction.state,
        prediction.state = 'submitting'
            OR prediction.state = 'unconfirmed' AND coalesce(prediction.due_at <= now(), false) AS is_due,
        job.state = 'queued' AND cancel_requested_at IS NULL AS is_wanted
    FROM prediction JOIN job ON job.id = job_id
    WHERE account_id = :account_id AND provider_id IS NULL AND posted_at IS NOT NULL
      AND prediction.state IN ('submitting', 'unconfirmed', 'not_found')
      AND posted_at > now() - interval '7 days'
    ORDER BY posted_at
""")


def list_posted(session: Session, account_id: UUID) -> list[Posted]:
    """Every submission posted within the provider's retention that has no provider id, oldest first."""
    return find_all(session, _POSTED, Posted, account_id=account_id)


_UNCONFIRMED = statement("""
    SELECT prediction.id AS prediction_id, job_id, batch.name AS batch, video_model, input, prediction.price, posted_at,
        prediction.error_code IS NOT DISTINCT FROM 'undecidable' AS needs_person,
        coalesce(prediction.error_message, '') AS reason
    FROM prediction JOIN job ON job.id = job_id LEFT JOIN batch ON batch.id = batch_id
    WHERE prediction.state = 'unconfirmed'
    ORDER BY posted_at, prediction.id
""")


def list_unconfirmed(session: Session) -> list[UnconfirmedSubmission]:
    """Every unconfirmed submission, oldest first."""
    return find_all(session, _UNCONFIRMED, UnconfirmedSubmission)


_OFFSETS = statement("""
    SELECT min(provider_created_at - posted_at) AS after_post, max(provider_created_at - accepted_at) AS after_answer
    FROM (
        SELECT provider_created_at, posted_at, accepted_at FROM prediction
        WHERE account_id = :account_id AND adopted_at IS NULL
          AND provider_created_at IS NOT NULL AND accepted_at IS NOT NULL
        ORDER BY id DESC
        LIMIT 200
    ) AS latest
""")


def find_offsets(session: Session, account_id: UUID) -> Offsets:
    """The offsets between the provider's clock and ours, from its latest answers."""
    return find_one(session, _OFFSETS, Offsets, account_id=account_id) or Offsets(None, None)


_KNOWN = statement("""
    SELECT provider_id FROM prediction WHERE account_id = :account_id AND provider_id = ANY(CAST(:ids AS text[]))
""")


def filter_known(session: Session, account_id: UUID, ids: Sequence[str]) -> set[str]:
    """The provider ids that our rows have."""
    return set(session.scalars(_KNOWN, {"account_id": account_id, "ids": list(ids)}))


_ASKED = """
    SELECT prediction_id, found.provider_id, found.provider_created_at AS created_at, is_earlier
    FROM unnest(CAST(:ids AS uuid[]), CAST(:moments AS timestamptz[])) AS asked (prediction_id, moment)
    CROSS JOIN LATERAL ({earlier} UNION ALL {later}) AS found
    WHERE found.accepted_at BETWEEN moment - interval '24 hours' AND moment + interval '24 hours'
"""

# Ids sort by creation time, so no index on the time is needed. The inner limits bound the reads if few have a time.
_NEIGHBOURS = """
    (SELECT provider_id, provider_created_at, accepted_at, {is_earlier} AS is_earlier
     FROM (SELECT * FROM prediction WHERE account_id = :account_id AND id {side} asked.prediction_id
           ORDER BY id {order} LIMIT 500) AS near
     WHERE accepted_at {within} AND provider_created_at IS NOT NULL AND state NOT IN ('lost', 'deleted')
     ORDER BY id {order} LIMIT 5)
"""

_CONTROLS = statement(
    _ASKED.format(
        earlier=_NEIGHBOURS.format(is_earlier="true", side="<", order="DESC", within="<= moment"),
        later=_NEIGHBOURS.format(is_earlier="false", side=">", order="ASC", within="< :until"),
    )
)


def list_controls(
    session: Session, account_id: UUID, moments: Mapping[UUID, datetime], *, until: datetime
) -> list[ControlPrediction]:
    """Up to five predictions accepted before and five after each of these, within 24 hours of its moment.

    Later ones are useful only if they were accepted before `until`.
    """
    values = {"ids": list(moments), "moments": list(moments.values()), "until": until}
    return find_all(session, _CONTROLS, ControlPrediction, account_id=account_id, **values) if moments else []


_UNLISTED = statement("""
    SELECT coalesce(max(extract(epoch FROM :listed_at - accepted_at)), 0)::float8
    FROM prediction
    WHERE account_id = :account_id AND state = 'rendering' AND adopted_at IS NULL
      AND provider_created_at > :after AND accepted_at < :listed_at
      AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:ids AS text[])) AS listed (id) WHERE listed.id = provider_id)
""")


def measure_list_lag(
    session: Session, account_id: UUID, *, listed: Iterable[str], listed_at: datetime, after: datetime
) -> float:
    """Seconds by which the provider's list was behind: the age of our oldest render that it did not show."""
    values = {"account_id": account_id, "ids": list(listed), "listed_at": listed_at, "after": after}
    return float(session.execute(_UNLISTED, values).scalar_one())
