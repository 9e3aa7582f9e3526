"""Actions: a person's change to many jobs, made in chunks. A chunk, its items and the progress are one transaction."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from models.db.rows import changed_a_row, statement
from models.tables.action import Action, ActionItem

REFUSED = "refused"
"""The outcome of a job that could not be changed."""


def insert_action(session: Session, action: Action) -> None:
    """Store a requested action."""
    session.add(action)
    session.flush()


# The leader's turns wait meanwhile, so a chunk gives up early if a job is locked.
_BOUND_WAITS = statement("SET LOCAL lock_timeout = '200ms'")
_HOLD = statement("""
    SELECT 1 FROM action
    WHERE id = :action_id AND state = 'running' AND last_id IS NOT DISTINCT FROM CAST(:last_id AS uuid)
    FOR UPDATE
""")


def hold_action(session: Session, action_id: UUID, *, last_id: UUID | None) -> bool:
    """Lock a running action that has reached `last_id`. False if it was aborted, or another process continued it.

    For the rest of the transaction, a wait for a lock fails after a fifth of a second.
    """
    session.execute(_BOUND_WAITS)
    return changed_a_row(session, _HOLD, action_id=action_id, last_id=last_id)


_ADVANCE = statement("""
    UPDATE action SET last_id = :last_id, changed = changed + :changed, refused = refused + :refused
    WHERE id = :action_id
""")


def advance_action(
    session: Session, action_id: UUID, ids: Sequence[UUID], *, changed: Mapping[UUID, str], refused: Mapping[UUID, str]
) -> None:
    """Record what became of the next jobs, `ids`, in order: the new state of those `changed`, the reason of the
    others."""
    items = [
        {
            "action_id": action_id,
            "job_id": job_id,
            "outcome": changed.get(job_id, REFUSED),
            "message": refused.get(job_id),
        }
        for job_id in ids
    ]
    session.execute(insert(ActionItem), items)
    counts = {"changed": len(changed), "refused": len(ids) - len(changed)}
    session.execute(_ADVANCE, {"action_id": action_id, "last_id": ids[-1], **counts})


_END = statement("""
    UPDATE action SET state = :state, problem = :problem, ended_at = now() WHERE id = :action_id AND state = 'running'
""")


def end_action(session: Session, action_id: UUID, *, state: str, problem: str | None = None) -> None:
    """End an action that runs: it is done, or aborted because of `problem`. What it has changed stays changed."""
    session.execute(_END, {"action_id": action_id, "state": state, "problem": problem})


_REMOVE = statement("""
    DELETE FROM action
    WHERE ended_at < now() - CAST(:older_than AS interval)
      AND NOT EXISTS (SELECT 1 FROM action_item WHERE action_id = action.id)
""")


def remove_actions(session: Session, *, older_than: timedelta | None) -> None:
    """Remove actions that ended before `older_than`, once none of the jobs that they reached is left."""
    session.execute(_REMOVE, {"older_than": older_than})
