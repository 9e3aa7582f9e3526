"""Reads of actions."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.queries.job_filter import JobFilter
from models.tables.action import Action, ActionItem, ActionState
from models.tables.job import Job


class ActionResult(NamedTuple):
    """What an action did to one job."""

    job_id: UUID
    outcome: str
    message: str | None
    client_ref: str | None  # the job's, unless the job was removed


def count_matches(session: Session, chosen: JobFilter) -> tuple[int, Decimal]:
    """How many jobs meet the filter, and the price of one render of each, in dollars."""
    query = select(func.count(), func.coalesce(func.sum(Job.price), 0)).where(*chosen.find_conditions())
    count, cost = session.execute(query).one()
    return count, cost


def find_running(session: Session, *, after: UUID | None = None) -> Action | None:
    """The oldest action that runs, of those after another."""
    query = select(Action).where(Action.state == ActionState.RUNNING.value, Action.id > (after or UUID(int=0)))
    return session.scalars(query.order_by(Action.id).limit(1)).first()


def find_action(session: Session, action_id: UUID) -> Action | None:
    """The action with this id."""
    return session.get(Action, action_id)


def list_actions(
    session: Session, *, limit: int, before: UUID | None = None, tenant_id: UUID | None = None
) -> Sequence[Action]:
    """Actions on a tenant's jobs, or all, newest first. `before` is the last id of the previous page."""
    query = select(Action).order_by(Action.id.desc()).limit(limit)
    if tenant_id is not None:
        query = query.where(Action.tenant_id == tenant_id)
    return session.scalars(query.where(Action.id < before) if before else query).all()


def list_items(
    session: Session, action_id: UUID, *, outcome: str | None, limit: int, after: UUID | None = None
) -> list[ActionResult]:
    """What an action did to each job that it has reached, in the order of their ids."""
    shown = (ActionItem.job_id, ActionItem.outcome, ActionItem.message, Job.client_ref)
    query = select(*shown).outerjoin(Job, Job.id == ActionItem.job_id)
    query = query.where(ActionItem.action_id == action_id, ActionItem.job_id > (after or UUID(int=0)))
    if outcome is not None:
        query = query.where(ActionItem.outcome == outcome)
    return [ActionResult(*row) for row in session.execute(query.order_by(ActionItem.job_id).limit(limit))]
