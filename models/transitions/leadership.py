"""The living workers and the leader."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.tables.worker import NO_STORE, StoreState

_LEAD = statement("""
    INSERT INTO leader (role, holder, term, lease_until)
    VALUES ('dispatcher', :holder, 1, now() + :lease)
    ON CONFLICT (role) DO UPDATE
        SET term = leader.term + CASE WHEN leader.holder = excluded.holder THEN 0 ELSE 1 END,
            holder = excluded.holder, lease_until = excluded.lease_until
        WHERE leader.holder = excluded.holder OR leader.lease_until < now()
    RETURNING term
""")


def lead(session: Session, holder: str, *, lease: timedelta) -> int | None:
    """Take or keep the lead for `lease`. Returns the term, or None while another worker holds the lead."""
    term: int | None = session.execute(_LEAD, {"holder": holder, "lease": lease}).scalar_one_or_none()
    return term


_RESIGN = statement("UPDATE leader SET lease_until = now() WHERE holder = :holder AND lease_until > now()")


def resign(session: Session, holder: str) -> None:
    """End this holder's lease, so that another worker can lead at once."""
    session.execute(_RESIGN, {"holder": holder})


_SEE = statement("""
    INSERT INTO worker (name, queues, threads, store_problem, store_free_bytes)
    VALUES (:name, :queues, :threads, :problem, :free_bytes)
    ON CONFLICT (name) DO UPDATE SET queues = excluded.queues, threads = excluded.threads, seen_at = now(),
        store_problem = excluded.store_problem, store_free_bytes = excluded.store_free_bytes
""")


def see_worker(
    session: Session, name: str, *, queues: Sequence[str], threads: int, store: StoreState = NO_STORE
) -> None:
    """Record a worker's sign of life, with the state of its store if it stores videos."""
    session.execute(_SEE, {"name": name, "queues": list(queues), "threads": threads, **store._asdict()})


_NOTE_TURNS = statement("""
    UPDATE worker
    SET turns_failing_since = CASE WHEN CAST(:error AS text) IS NOT NULL THEN coalesce(turns_failing_since, now()) END,
        turn_error = :error
    WHERE name = :name AND turn_error IS DISTINCT FROM :error
    RETURNING 1
""")


def note_turns(session: Session, name: str, *, error: str | None) -> bool:
    """Record the error of the failing turns of a worker's dispatcher; None once they work. Writes only a change."""
    return changed_a_row(session, _NOTE_TURNS, name=name, error=error)


_DROP = statement("DELETE FROM worker WHERE name = :name OR seen_at < now() - interval '1 hour'")


def drop_worker(session: Session, name: str) -> None:
    """Delete the row of a worker that leaves, and all rows without a sign of life for an hour."""
    session.execute(_DROP, {"name": name})
