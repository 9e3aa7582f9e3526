"""Actions on many jobs, as the API shows and takes them."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.values import Body, IdCursor, Money, PageShown, Shown, Time
from models import ActionKind, ActionState
from rushes.jobs.actions import PRIORITIES
from rushes.jobs.choosing import NO_NUL, JobChoice


class NewAction(Body):
    """A change to all jobs that meet a filter."""

    kind: Annotated[
        ActionKind,
        Field(
            strict=False,
            description="`retry` failed and cancelled jobs; `cancel`, `pause`, `resume` or change the `priority` of "
            "jobs that have not ended; `recheck` unverified files; `delete` a batch. A paused job gets no slot; a job "
            "that has one already is submitted all the same.",
        ),
    ]
    filter: Annotated[
        JobChoice,
        Field(
            description="Which jobs: all properties must hold, and at least one is required.",
            json_schema_extra={"minProperties": 1},
        ),
    ]
    priority: Annotated[
        int | None,
        Field(ge=PRIORITIES[0], le=PRIORITIES[-1], description="The new priority, for `priority`: higher goes first."),
    ] = None
    input: Annotated[
        dict[str, Any] | None,
        Field(description="Values that replace those of the input, for `retry`: files by address or reference only."),
    ] = None
    dry_run: Annotated[bool, Field(description="Only count the jobs and price them.")] = False

    def list_arguments(self) -> dict[str, Any]:
        """What the action needs to know besides its jobs."""
        return self.model_dump(include={"priority", "input"}, exclude_none=True)


class ActionView(Shown):
    """An action and its progress."""

    id: UUID | None = Field(description="Null for a dry run.")
    kind: ActionKind
    state: ActionState | None = Field(description="Null for a dry run.")
    filter: dict[str, Any] = Field(validation_alias="chosen", description="The filter, with names and ages resolved.")
    arguments: dict[str, Any]
    requested_by: str
    matched: int = Field(description="Jobs that met the filter when the action was requested.")
    cost: Money = Field(description="Dollars: the price of one render of each of them, with its input as it was.")
    changed: int = Field(description="Jobs that were changed so far.")
    refused: int = Field(description="Jobs that could not be changed, with the reasons in the action's items.")
    problem: str | None = Field(description="Why it was aborted: by whom, or after which failure.")
    created_at: Time | None = Field(description="Null for a dry run.")
    ended_at: Time | None


ActionPage = PageShown[ActionView]


class ActionItemView(Shown):
    """What an action did to one job."""

    job_id: UUID
    client_ref: str | None = Field(description="The job's.")
    outcome: str = Field(description="The job's new state, `requested` for a cancellation, the kind, or `refused`.")
    message: str | None = Field(description="Why it was refused.")


ActionItemPage = PageShown[ActionItemView]


class ActionsAsked(BaseModel):
    """A page of actions."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=500, description="Actions per page.")
    cursor: IdCursor = Field(default=None, description="`next_cursor` of the previous page.")


class ItemsAsked(ActionsAsked):
    """A page of an action's items."""

    outcome: str | None = Field(
        default=None, max_length=30, pattern=NO_NUL, description="Only items with this outcome."
    )
