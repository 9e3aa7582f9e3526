"""One filter of jobs for lists, failures and actions."""

from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement

from models.lifecycle import JobState
from models.tables.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Properties that a job must have, all of them. An empty value does not filter by that property."""

    states: tuple[JobState, ...] = ()
    tenant_id: UUID | None = None  # the one that the caller is limited to, or names
    batch_id: UUID | None = None
    code: str | None = None  # the failure code that the job ended with
    video_model: str | None = None
    client_ref: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    ended_after: datetime | None = None
    ended_before: datetime | None = None
    ids: tuple[UUID, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the tenant limits it."""
        return not any(getattr(self, each.name) for each in fields(self) if each.name != "tenant_id")

    def find_conditions(self) -> list[ColumnElement[bool]]:
        """The conditions on `Job`."""
        equal = {
            Job.tenant_id: self.tenant_id,
            Job.batch_id: self.batch_id,
            Job.error_code: self.code,
            Job.video_model: self.video_model,
            Job.client_ref: self.client_ref,
        }
        some = {Job.state: [each.value for each in self.states], Job.id: self.ids}
        since = {Job.created_at: self.created_after, Job.ended_at: self.ended_after}
        until = {Job.created_at: self.created_before, Job.ended_at: self.ended_before}
        return [
            *(column == value for column, value in equal.items() if value is not None),
            *(column.in_(values) for column, values in some.items() if values),
            *(column >= moment for column, moment in since.items() if moment is not None),
            *(column < moment for column, moment in until.items() if moment is not None),
        ]
