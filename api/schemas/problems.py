"""The one shape of every error (RFC 9457)."""

from pydantic import BaseModel, Field


class FieldProblem(BaseModel):
    """A problem with one field."""

    field: str = Field(description="Dotted path, such as `jobs.16.input.duration`.")
    message: str


class ProblemDetails(BaseModel):
    """A refusal or a failure, as `application/problem+json`."""

    type: str = Field(description="`about:blank`: the status identifies the problem.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What happened, as a message for people.")
    errors: list[FieldProblem] = Field(description="All wrong fields, at most 100. Empty for other errors.")
