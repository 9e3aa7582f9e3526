"""Events that endpoints want, and what a callback says of its event."""

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement
from models.money import HELD, SPENT


class FeedPlace(NamedTuple):
    """How far deliveries were created, and the event after which the first endpoint wants some; None: none does."""

    last_id: int
    wanted_after: int | None


_POSITION = statement("""
    SELECT coalesce((SELECT last_id FROM feed_position WHERE reader = 'callbacks'), 0) AS last_id,
        (SELECT min(after) FROM endpoint WHERE disabled_at IS NULL) AS wanted_after
""")


def find_position(session: Session) -> FeedPlace:
    """How far deliveries were created."""
    place = find_one(session, _POSITION, FeedPlace)
    assert place is not None  # noqa: S101 - a SELECT without FROM has a row
    return place


class WantedEvent(NamedTuple):
    """An event that an endpoint wants."""

    endpoint_id: UUID
    event_id: int
    job_id: UUID | None
    kind: str


# An event of an endpoint names its tenant itself.
_WANTED = statement("""
    SELECT endpoint.id AS endpoint_id, found.id AS event_id, job_id, kind
    FROM (
        SELECT recent.id, recent.kind, recent.job_id, coalesce(job.tenant_id, batch.tenant_id,
            CASE WHEN kind LIKE 'endpoint.%' THEN CAST(detail->>'tenant_id' AS uuid) END) AS tenant_id
        FROM (SELECT * FROM event WHERE id > :after AND id <= :until
            AND kind LIKE ANY('{job.%,batch.%,endpoint.%}') ORDER BY id OFFSET 0) AS recent
        LEFT JOIN job ON job.id = recent.job_id
        LEFT JOIN batch ON batch.id = recent.batch_id) AS found
    JOIN endpoint USING (tenant_id)
    WHERE disabled_at IS NULL AND endpoint.after < found.id AND EXISTS (
        SELECT FROM jsonb_array_elements_text(kinds) AS wanted (kinds)
        WHERE wanted.kinds = kind OR right(wanted.kinds, 1) = '*' AND starts_with(kind, left(wanted.kinds, -1)))
    ORDER BY found.id
""")


def list_wanted(session: Session, *, after: int, until: int) -> list[WantedEvent]:
    """What endpoints want of the events after `after` up to `until`, in the order of the events."""
    return find_all(session, _WANTED, WantedEvent, after=after, until=until)


class EventSubject(NamedTuple):
    """An event, and its job or batch, each as far as it is not removed."""

    event_at: datetime | None
    detail: dict[str, Any] | None
    state: str | None
    error_code: str | None
    error_message: str | None
    number: int | None
    client_ref: str | None
    client_metadata: dict[str, Any] | None
    batch_id: UUID | None
    batch: str | None
    held: Decimal
    spent: Decimal


_SUBJECT = statement(f"""
    SELECT event.at AS event_at, detail, state, error_code, error_message, number, client_ref, client_metadata,
        batch.id AS batch_id, batch.name AS batch, held, spent
    FROM (SELECT CAST(:event_id AS bigint) AS event_id, CAST(:job_id AS uuid) AS job_id) AS asked
    LEFT JOIN event ON event.id = asked.event_id
    LEFT JOIN job ON job.id = asked.job_id
    LEFT JOIN batch ON batch.id = coalesce(job.batch_id, event.batch_id)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(price) FILTER (WHERE {HELD}), 0) AS held,
            coalesce(sum(price) FILTER (WHERE {SPENT}), 0) AS spent
        FROM prediction WHERE prediction.job_id = asked.job_id) AS cost
""")


def describe_subject(session: Session, *, event_id: int | None, job_id: UUID | None) -> EventSubject:
    """What is known of an event."""
    subject = find_one(session, _SUBJECT, EventSubject, event_id=event_id, job_id=job_id)
    assert subject is not None  # noqa: S101 - each join is an outer one
    return subject
