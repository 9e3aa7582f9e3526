"""Read a request: the fields of its JSON body, and the address that it used."""

import json
from typing import Any

from starlette.requests import Request

from sandbox.wavespeed.http.answers import Refusal
from sandbox.wavespeed.state.timestamps import parse_time


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; raises `Refusal` (400) for anything else."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Refusal(400, "the request body must be valid JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the request body must be a JSON object")
    return body


def read_integer(body: dict[str, Any], name: str, *, low: int, high: int = 2**31) -> int:
    """A whole number from `low` to `high`; required."""
    value = body.get(name)
    if value is None:
        raise Refusal(400, f"{name} is required")
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(400, f"{name} must be an integer")
    if not low <= value <= high:
        raise Refusal(
            400, f"{name} must be between {low} and {high}" if high < 2**31 else f"{name} must be at least {low}"
        )
    return value


def read_text(body: dict[str, Any], name: str) -> str | None:
    """A string; None if it is missing or empty."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(400, f"{name} must be a string")
    return value or None


def read_time(body: dict[str, Any], name: str) -> int | None:
    """Nanoseconds since 1970; None if it is missing."""
    value = body.get(name)
    if value is None or value == "":
        return None
    moment = parse_time(value)
    if moment is None:
        raise Refusal(400, f"{name} must be an ISO 8601 time")
    return moment


def base_of(request: Request) -> str:
    """Scheme, host and port that the client used."""
    return str(request.base_url).rstrip("/")
