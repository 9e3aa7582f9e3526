"""A caller's request for a job. Unknown fields are refused: a typing error must not cost money."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_ATTEMPTS = 20
PRIORITY_LIMIT = 100


class JobOrder(BaseModel):
    """One video to render."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(max_length=200, description="Video model by id or short name; see `/v1/catalog`.")]
    input: Annotated[dict[str, Any], Field(description="The video model's parameters; see `/v1/catalog`.")]
    priority: Annotated[int, Field(ge=-PRIORITY_LIMIT, le=PRIORITY_LIMIT, description="Higher goes first.")] = 0
    max_attempts: Annotated[
        int, Field(ge=1, le=MAX_ATTEMPTS, description="Maximum number of purchases, if renders fail and are refunded.")
    ] = 3
