"""The reads of a check of a duplicate purchase."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.tables.artifact import Artifact, ArtifactKind

_DUPLICATE = statement("""
    SELECT job_id, account_id, claim, provider_id, outcome,
        extract(epoch FROM now() - least(provider_created_at, accepted_at))::float8,
        extract(epoch FROM now() - inconsistent_since)::float8,
        coalesce(provider_created_at, accepted_at), provider_created_at IS NOT NULL
    FROM prediction WHERE id = :prediction_id AND state = 'duplicate'
""")


class Duplicate(NamedTuple):
    """A prediction that was found after it had been marked not found or refused."""

    job_id: UUID
    account_id: UUID
    claim: int
    provider_id: str
    outcome: str | None
    age_seconds: float  # since the provider created it or we learned of it, whichever is earlier
    inconsistent_seconds: float | None  # since the provider's answers make no sense
    created_at: datetime  # by the provider's clock if it reported one, else when we learned of it
    by_provider: bool  # the provider reported created_at


def find_duplicate(session: Session, prediction_id: UUID) -> Duplicate | None:
    """The duplicate purchase with this id; None for any other prediction."""
    return find_one(session, _DUPLICATE, Duplicate, prediction_id=prediction_id)


def find_duplicate_file(session: Session, prediction_id: UUID, kind: ArtifactKind) -> Artifact | None:
    """The stored file of this kind that belongs to a duplicate purchase."""
    query = select(Artifact).where(
        Artifact.prediction_id == prediction_id, Artifact.kind == kind, Artifact.is_duplicate
    )
    return session.scalars(query).first()
