"""What a run of chaos asks its own database."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from models.db.rows import find_all, find_one, statement

_STATES = statement("SELECT state, count(*) FROM job GROUP BY 1")
_LEADER = statement("SELECT holder FROM leader ORDER BY lease_until DESC LIMIT 1")
_VIDEOS = statement("""
    SELECT input->>'prompt', count(DISTINCT job.id)
    FROM job JOIN artifact ON job_id = job.id WHERE kind = 'video' GROUP BY 1
""")
_LIVE = statement("""
    SELECT state, count(*), coalesce(min(error_message), ''),
        coalesce(extract(epoch FROM min(due_at) - now())::float8, 0)
    FROM prediction WHERE state IN ('submitting', 'unconfirmed', 'rendering') GROUP BY 1
""")

# What is due sooner may have been claimed and not begun: that is a lease, and stays.
_HASTEN = statement("""
    UPDATE job SET due_at = now()
    WHERE state = 'storing' AND begun_at IS NULL AND error_code IS NOT NULL AND due_at > now() + interval '15 seconds'
""")


class Counted(NamedTuple):
    """How many of something."""

    name: str
    total: int


class Holder(NamedTuple):
    """Who leads, or led last."""

    name: str


class WaitingRows(NamedTuple):
    """Predictions without an outcome: how many, one's last error, and when the first is due."""

    state: str
    total: int
    error: str
    due_in_seconds: float


def count_states(session: Session) -> dict[str, int]:
    """Jobs by state."""
    return {each.name: each.total for each in find_all(session, _STATES, Counted)}


def find_last_leader(session: Session) -> str | None:
    """The name of the worker that leads, or led last."""
    found = find_one(session, _LEADER, Holder)
    return found.name if found else None


def count_videos(session: Session) -> dict[str, int]:
    """By prompt, how many jobs have a video."""
    return {each.name: each.total for each in find_all(session, _VIDEOS, Counted)}


def hasten_stores(session: Session) -> None:
    """Let the time pass that downloads wait after a failure; leases are left alone."""
    session.execute(_HASTEN)


def list_waiting(session: Session) -> list[WaitingRows]:
    """What has not ended, for a run in which nothing goes on."""
    return find_all(session, _LIVE, WaitingRows)
