"""What a look at a surplus reads."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.db.rows import find_one, statement
from models.tables.artifact import Artifact, ArtifactKind

_SURPLUS = statement("""
    SELECT job_id, account_id, claim, provider_id, verdict,
        extract(epoch FROM now() - least(provider_created_at, accepted_at))::float8,
        extract(epoch FROM now() - odd_since)::float8,
        coalesce(provider_created_at, accepted_at), provider_created_at IS NOT NULL
    FROM prediction WHERE id = :prediction_id AND state = 'surplus'
""")


class Surplus(NamedTuple):
    """A prediction that was found after it had been called absent or refused."""

    job_id: UUID
    account_id: UUID
    claim: int
    provider_id: str
    verdict: str | None
    age_seconds: float  # since the provider accepted it, or we knew of it where that is not told
    odd_seconds: float | None  # since the provider's answers make no sense
    created_at: datetime  # by the provider's clock where it told, else when we knew of it
    by_provider: bool  # it told


def find_surplus(session: Session, prediction_id: UUID) -> Surplus | None:
    """The surplus with this id; None for any other prediction."""
    return find_one(session, _SURPLUS, Surplus, prediction_id=prediction_id)


def find_surplus_file(session: Session, prediction_id: UUID, kind: ArtifactKind) -> Artifact | None:
    """The stored file of this kind that belongs to a surplus."""
    query = select(Artifact).where(Artifact.prediction_id == prediction_id, Artifact.kind == kind, Artifact.is_surplus)
    return session.scalars(query).first()
