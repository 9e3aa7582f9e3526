"""The one shape of every error (RFC 9457)."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Self

from pydantic import BaseModel, Field

from rushes.errors import Problem

TEXT_LIMIT = 500
"""Characters per message. Messages quote the wrong value, which can be as long as the body."""

_TITLES = {413: "Content Too Large", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
"""Phrases of RFC 9110. Older versions of Python use older phrases."""


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

    @classmethod
    def of(cls, status: int, detail: str, problems: Sequence[Problem] = ()) -> Self:
        return cls(
            type="about:blank",
            title=_TITLES.get(status) or HTTPStatus(status).phrase,
            status=status,
            detail=_shorten(detail),
            errors=[FieldProblem(field=_shorten(each.field), message=_shorten(each.message)) for each in problems],
        )


def _shorten(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[: TEXT_LIMIT - 3]}..."
