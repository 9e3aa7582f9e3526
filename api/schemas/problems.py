"""The one shape of every error (RFC 9457)."""

from pydantic import BaseModel, Field


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="Dotted path, such as `jobs.16.input.duration`.")
    message: str


class ProblemDetails(BaseModel):
    """A refusal or a failure, as `application/problem+json`."""

    type: str = Field(description="`about:blank`: the status says it all.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What happened, for a person's eyes.")
    errors: list[FieldProblem] = Field(description="Every field that is wrong, at most 100; empty for other errors.")
