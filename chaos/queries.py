"""The queries that a chaos run makes in its own database."""

from sqlalchemy import TextClause
from sqlalchemy.orm import Session

from models.db.rows import statement

_STATES = statement("SELECT state, count(*) FROM job GROUP BY 1")
_LEADER = statement("SELECT holder FROM leader ORDER BY lease_until DESC LIMIT 1")
_VIDEOS = statement("""
    SELECT input->>'prompt', count(DISTINCT job.id)
    FROM job JOIN artifact ON job_id = job.id WHERE kind = 'video' GROUP BY 1
""")

# A row that is due sooner may be claimed but not begun: then `due_at` is a lease and must stay.
_HASTEN = statement("""
    UPDATE prediction SET due_at = now()
    WHERE state = 'completed' AND begun_at IS NULL AND error_code IS NOT NULL AND due_at > now() + interval '15 seconds'
""")

_JOB_EVENTS = statement("SELECT id FROM event WHERE kind LIKE 'job.%'")


def count_states(session: Session) -> dict[str, int]:
    """Jobs by state."""
    return _count(session, _STATES)


def count_videos(session: Session) -> dict[str, int]:
    """The number of jobs with a video, by prompt."""
    return _count(session, _VIDEOS)


def list_job_events(session: Session) -> set[int]:
    """The ids of all events of jobs."""
    return set(session.scalars(_JOB_EVENTS))


def find_last_leader(session: Session) -> str | None:
    """The name of the current or last leader."""
    name: str | None = session.scalar(_LEADER)
    return name


def hasten_stores(session: Session) -> None:
    """End the waits of downloads after a failure; leases stay unchanged."""
    session.execute(_HASTEN)


def _count(session: Session, query: TextClause) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(query)}
