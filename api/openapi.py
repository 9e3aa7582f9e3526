"""Add to the OpenAPI document everything that FastAPI cannot infer: bodies, examples, problems."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api.access import Guard
from api.errors import ProblemDetails
from api.examples import JOB_ID, Json
from rushes.access.callers import Need
from rushes.errors import Problem

TITLE = "Rushes"
SUMMARY = "A render queue for WaveSpeedAI's LTX-2 video models."
DESCRIPTION = """\
Push prompts, fetch videos. A job is durable once its push is answered with 201. Nothing paid for is lost, and nothing \
is paid for twice.

Every request needs a key, except for `/healthz`, `/readyz`, the provider's webhooks and this page. A key belongs to \
a tenant, which sees only its own data, and has scopes: `push`, `read`, `observe`, `operate`, `admin`. A batch's name \
means a batch of the key's own tenant; keys that reach every tenant write `TENANT:NAME` for the others.

Amounts are US dollars as text with four decimals, times are RFC 3339 in UTC, and ids are UUIDs. To page through a \
list, pass `next_cursor` as `cursor`. Every error is a problem (RFC 9457, `application/problem+json`) that names the \
wrong fields. A 503 comes with `Retry-After`, and so does a 409 if the same request is in progress or a row is locked: \
repeat it then.\
"""
TAGS = [
    {"name": "jobs", "description": "One video each: push, follow, fetch, cancel, retry, recheck."},
    {"name": "batches", "description": "Jobs pushed together: one name, one progress bar, all stored or none."},
    {"name": "events", "description": "What happens to jobs and batches: read, wait, or stream."},
    {"name": "actions", "description": "One change to many jobs: retry, cancel, pause, priority."},
    {"name": "uploads", "description": "Images and videos as inputs of jobs."},
    {"name": "callbacks", "description": "What Rushes tells your server by itself: endpoints and deliveries."},
    {"name": "account", "description": "The provider's account: limits, health, money."},
    {
        "name": "unconfirmed",
        "description": "Purchases that need a person's decision: lost answers, renders that never end.",
    },
    {"name": "catalog", "description": "The video models on offer, their parameters and prices."},
    {"name": "hooks", "description": "Webhooks that the provider sends."},
    {"name": "access", "description": "Tenants, keys, and the log of what operators did."},
    {"name": "health", "description": "For load balancers and people on call."},
]

_WRONG_FIELD = Problem("input.duration", "must be one of 6, 8, 10, not 7")
_PROBLEMS = {
    400: ("The body is not JSON.", "the body is not JSON: expected ident at line 2 column 14"),
    401: (
        "The key is missing or not accepted; for a webhook, the signature.",
        "this needs an API key: send the header `Authorization: Bearer rsh_live_...`",
    ),
    403: (
        "The key has no scope for this.",
        "this needs a key with the scope operate; the scopes of this key: push, read",
    ),
    404: ("It does not exist.", f"there is no job {JOB_ID}"),
    408: ("The body arrived too slowly.", "the body arrived too slowly; nothing was stored"),
    409: (
        "It exists already, or its state does not allow this. With `Retry-After`: the same request is in progress.",
        f"job {JOB_ID} has ended: it is succeeded",
    ),
    410: (
        "It was removed on purpose.",
        f"the video of job {JOB_ID} was removed on purpose at 2026-12-05T12:00:00Z: its row stays, its file is gone",
    ),
    413: ("The body is too large.", "the body has more than 1,000,000 bytes"),
    415: ("The body is not sent as JSON.", "send the body as JSON, with the header `Content-Type: application/json`"),
    416: ("The file does not have that range.", "the file does not have that range"),
    422: ("One or more fields are wrong; nothing was stored.", str(_WRONG_FIELD)),
    503: (
        "The database is away, or the request took too long. Try again after `Retry-After` seconds.",
        "the database cannot be reached",
    ),
}
"""The meaning of each error, and the detail of its example."""
BODY_ERRORS = (400, 408, 413, 415, 422)
"""The errors of every route that takes a body."""

_NULL = "\0null"
"""Stands for null in examples while FastAPI builds the document, because FastAPI drops null values."""
_REFERENCE = "#/components/schemas/{model}"
_own_schemas: list[type[BaseModel]] = [ProblemDetails]
"""The schemas to which only our own parts of the document refer."""


def takes_lines(schema: type[BaseModel], media_types: Sequence[str], example: str) -> Json:
    """Return the same for a body that has one object per line."""
    _own_schemas.append(schema)
    lines = {"type": "string", "description": f"An object on each line: `{schema.__name__}`."}
    content = {"schema": lines, "example": example}
    return {"requestBody": {"required": True, "content": dict.fromkeys(media_types, content)}}


def takes(schema: type[BaseModel], *, required: bool = True, **examples: Json) -> Json:
    """Return `openapi_extra` for a route if one of our dependencies reads its body. Examples are keyed by name."""
    _own_schemas.append(schema)
    named = {
        name: {"summary": name.replace("_", " "), "value": _swap(value, None, _NULL)}
        for name, value in examples.items()
    }
    content = {"schema": {"$ref": _REFERENCE.format(model=schema.__name__)}, "examples": named}
    return {"requestBody": {"required": required, "content": {"application/json": content}}}


def shows(description: str, example: Json) -> Json:
    """Describe a response by an example. Its schema is the route's response model."""
    return {"description": description, "content": {"application/json": {"example": _swap(example, None, _NULL)}}}


def answers(
    need: Need,
    status: int,
    description: str,
    example: Json,
    *errors: int,
    also: Mapping[int | str, Json] | None = None,
) -> Json:
    """Return the arguments of a route: who may call it, its answer, other answers of its model, and its errors."""
    responses: dict[int | str, Any] = {status: shows(description, example), **(also or {})}
    return {"status_code": status, **guards(need, *errors, responses=responses)}


def guards(need: Need, *errors: int, responses: Mapping[int | str, Json]) -> Json:
    """Return the arguments of a route that only callers with `need` may call, with its answers and errors."""
    return {"dependencies": [Depends(Guard(need))], "responses": {**responses, **problems(*errors, 401, 403, 503)}}


def sends(description: str, media_type: str) -> Json:
    """Describe a response that is a file."""
    return {"description": description, "content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}


def problems(*statuses: int) -> dict[int | str, Any]:
    """Describe the errors that a route may return."""
    return {status: _describe_problem(status) for status in sorted(statuses)}


def _describe_problem(status: int) -> Json:
    description, detail = _PROBLEMS[status]
    example = ProblemDetails.of(status, detail, [_WRONG_FIELD] if status == 422 else ()).model_dump()
    schema = {"$ref": _REFERENCE.format(model=ProblemDetails.__name__)}
    return {"description": description, "content": {"application/problem+json": {"schema": schema, "example": example}}}


def describe_api(app: FastAPI, *, base: str | None) -> None:
    """Add the schemas that only our own parts refer to, and the address at which callers reach the API, if it is set.

    The document is built once, on the first request for it.
    """

    def build() -> Json:
        if app.openapi_schema is None:
            document = get_openapi(
                title=TITLE,
                version=app.version,
                summary=SUMMARY,
                description=DESCRIPTION,
                tags=TAGS,
                servers=[{"url": base.rstrip("/")}] if base else None,
                routes=app.routes,
            )
            _, own = models_json_schema([(each, "validation") for each in _own_schemas], ref_template=_REFERENCE)
            document["components"]["schemas"] |= own["$defs"]
            _drop_framework_errors(document)
            app.openapi_schema = _swap(document, _NULL, None)
        return app.openapi_schema

    app.openapi = build  # type: ignore[method-assign] # FastAPI's documented way


def _swap(value: Any, old: object, new: object) -> Any:
    """Copy JSON and replace one value by another throughout."""
    if isinstance(value, dict):
        return {key: _swap(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_swap(each, old, new) for each in value]
    return new if value == old else value


def _drop_framework_errors(document: Json) -> None:
    """Remove the 422 that FastAPI adds to every route with parameters that has none. We never return that shape."""
    for methods in document["paths"].values():
        for route in methods.values():
            if "application/json" in route["responses"].get("422", {}).get("content", {}):
                del route["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
