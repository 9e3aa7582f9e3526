"""Answer every error as a problem (RFC 9457), in one shape and without internal details."""

import errno
import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.validation import describe_problem
from models.db.errors import DatabaseAway, is_lock_failure
from rushes import errors
from rushes.bulk.lines import BodyTooLarge
from rushes.errors import Problem
from rushes.wavespeed.answers import WebhookRefused

RETRY_AFTER = timedelta(seconds=2)
TEXT_LIMIT = 500
"""Characters per message. Messages quote the wrong value, which can be as long as the body."""

_TITLES = {413: "Content Too Large", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
"""Phrases of RFC 9110. Older versions of Python use older phrases."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="rushes"'}

_LOCKED = "another request or a worker keeps these rows locked: repeat yours in a moment"

_DISK_FULL = "the disk of the API is full (TMPDIR): nothing was stored"

_SHOWN = 3  # problems repeated in `detail`; `errors` lists all of them

_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (errors.InvalidInput, 422),
    (errors.Gone, 410),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (WebhookRefused, 401),
    (BodyTooLarge, 413),
    (errors.Refused, 400),
    (errors.Transient, 503),
    (DatabaseAway, 503),
)


class FieldProblem(BaseModel):
    """A problem with one field."""

    field: str = Field(
        description="Dotted path, such as `jobs.16.input.duration`, or `lines.17.input.duration` for line 17."
    )
    message: str


class ProblemDetails(BaseModel):
    """A refusal or a failure, as `application/problem+json`."""

    type: str = Field(description="`about:blank`: the status identifies the problem.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What happened, as a message for people.")
    errors: list[FieldProblem] = Field(
        description="All wrong fields, at most 100; of jobs as lines, those of the first 100 invalid lines. Empty for "
        "other errors."
    )

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


class ProblemResponse(JSONResponse):
    """A response that carries a problem."""

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        problem = ProblemDetails.of(status, detail, problems)
        super().__init__(problem.model_dump(), status_code=status, headers=headers)


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error that is raised on purpose. The middleware `AccessLog` answers bugs."""
    for kind in (errors.RushesError, DatabaseAway, OperationalError, RequestValidationError, HTTPException, OSError):
        app.add_exception_handler(kind, answer_error)


async def answer_error(_: Request, error: Exception) -> Response:
    """Return the problem for this error. Raises the error again if it has no status."""
    if isinstance(error, RequestValidationError):
        return _refuse_fields([describe_problem(detail, skip=1) for detail in error.errors()])
    if isinstance(error, HTTPException):
        return ProblemResponse(error.status_code, _explain(error), headers=error.headers)
    if isinstance(error, errors.InvalidInput):
        return _refuse_fields(error.problems)
    if is_lock_failure(error):
        return ProblemResponse(409, _LOCKED, headers=_retry_header(RETRY_AFTER))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ProblemResponse(503, _DISK_FULL, headers=_retry_header(RETRY_AFTER))
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), None)
    if status is None:
        raise error
    wait = getattr(error, "retry_after", None) or (RETRY_AFTER if status == 503 else None)
    headers = _CHALLENGE if status == 401 else _retry_header(wait) if wait else None
    return ProblemResponse(status, str(error), headers=headers)


def _refuse_fields(problems: Sequence[Problem]) -> ProblemResponse:
    shown = "; ".join(str(problem) for problem in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return ProblemResponse(422, shown + more, problems=problems)


def _explain(error: HTTPException) -> str:
    """Replace the framework's messages, which only repeat the status. Keep our own messages."""
    if error.detail != HTTPStatus(error.status_code).phrase:
        return error.detail
    return {404: "there is nothing at this address; see /docs", 405: "this address does not take that method"}.get(
        error.status_code, error.detail
    )


def _retry_header(wait: timedelta) -> Mapping[str, str]:
    return {"Retry-After": str(math.ceil(wait.total_seconds()))}
