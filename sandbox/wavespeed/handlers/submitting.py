"""POST /api/v3/{model-id}: buy a render, and every way in which the answer can get lost."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp

from rushes.catalog import PROMPT_LIMIT, VIDEO_MODELS, Parameter, VideoModel
from sandbox.wavespeed.http.answers import Dropped, Hung, Refusal, envelope, garble, gateway_error
from sandbox.wavespeed.http.gate import TOO_MANY, base_of, broken, read_object
from sandbox.wavespeed.state.faults import Strike, Subject
from sandbox.wavespeed.state.provider import NO_CREDIT, Provider
from sandbox.wavespeed.state.tasks import TaskRequest, describe, fill_in

_JSON_TYPES = {"text": "string", "url": "string", "integer": "integer", "number": "number", "flag": "boolean"}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "url": (str,),
    "integer": (int,),
    "number": (int, float),
    "flag": (bool,),
}


async def submit(provider: Provider, request: Request) -> ASGIApp:
    """Accept, refuse or lose one submission. Once `Provider.accept` returns, the task exists and is charged."""
    body = await read_object(request)
    subject = Subject("submit", str(body.get("prompt", "")))
    strike = provider.faults.aim(subject)
    if (refused := _refuse(provider, strike)) is not None:
        return refused
    if not provider.limit.admit(provider.now):
        raise Refusal(429, TOO_MANY)
    submission = _read_submission(request, body)
    if late := strike("submit_late"):
        provider.accept_later(submission, late.delay)
        return broken(504)
    task = provider.accept(submission)
    shown = describe(task, now=provider.now, base=submission.base) | {"status": "created"}
    return _lose(strike, shown) or envelope(shown)


def _refuse(provider: Provider, strike: Strike) -> ASGIApp | None:
    """Faults that strike before anything is bought."""
    if rule := strike("submit_5xx"):
        provider.counts.refused[rule.status] += 1
        return broken(rule.status)
    if rule := strike("submit_bad_code"):
        return envelope(None, code=rule.code, message="Internal server error")
    if rule := strike("submit_429"):
        raise Refusal(429, TOO_MANY, retry_after=rule.retry_after)
    if rule := strike("no_credit"):
        raise Refusal(rule.status, NO_CREDIT)
    return None


def _read_submission(request: Request, body: dict[str, Any]) -> TaskRequest:
    model_id = request.path_params["model_id"]
    model = next((each for each in VIDEO_MODELS if each.id == model_id), None)  # the provider has no short names
    if model is None:
        raise Refusal(400, "Model not found")
    given = read_input(model, body)
    if sentence := complain(model, given):
        raise Refusal(400, sentence)
    webhook = request.query_params.get("webhook") or None
    if webhook is not None and not _is_http_url(webhook):
        raise Refusal(400, "webhook must be a valid URL")
    return TaskRequest(model=model, given=given, base=base_of(request), webhook=webhook)


def read_input(model: VideoModel, body: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs in a body that the model knows, in the order sent.

    A null counts as missing. The provider silently ignores unknown keys and bills the defaults. It does not offer
    `enable_base64_output` and `stream` for these video models.
    """
    known = {parameter.name for parameter in model.parameters}
    return {name: _mend(value) for name, value in body.items() if name in known and value is not None}


def complain(model: VideoModel, given: Mapping[str, Any]) -> str | None:
    """The message with which the provider refuses this input; None if it is valid."""
    for parameter in model.parameters:
        if sentence := _complain_about(parameter, given):
            return sentence
    if model.region_seconds is None:
        return None
    shortest, longest = model.region_seconds
    if shortest <= model.output_seconds(fill_in(model, given)) <= longest:
        return None
    return f"the region from start_time to end_time must last {shortest} to {longest} seconds"


def _complain_about(parameter: Parameter, given: Mapping[str, Any]) -> str | None:
    name, kind = parameter.name, parameter.kind
    if name not in given:
        return f"{name} is required" if parameter.required else None
    value = given[name]
    is_right_type = isinstance(value, _PYTHON_TYPES[kind]) and (kind == "flag" or not isinstance(value, bool))
    if not is_right_type:
        return f"{name} must be {'an' if kind == 'integer' else 'a'} {_JSON_TYPES[kind]}"
    if kind == "text":
        return _complain_about_text(name, value)
    if kind == "url" and not value.startswith(("http://", "https://", "data:")):
        return f"{name} must be a URL"
    if parameter.choices and value not in parameter.choices:
        return f"{name} must be one of {list(parameter.choices)}"
    if parameter.minimum is not None and not parameter.minimum <= value < 1e6:
        return f"{name} must be at least {parameter.minimum:g}"
    return None


def _complain_about_text(name: str, value: str) -> str | None:
    if not value.strip():
        return f"{name} must not be empty"
    if len(value) > PROMPT_LIMIT:
        return f"{name} must be at most {PROMPT_LIMIT} characters"
    return None


def _mend(value: object) -> object:
    """Replace halves of surrogate pairs with U+FFFD, like a server with UTF-8 strings."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _lose(strike: Strike, shown: dict[str, Any]) -> ASGIApp | None:
    """Faults that strike after the purchase: the client gets no answer, or not a good one."""
    if strike("submit_drop"):
        return Dropped()
    if strike("submit_504"):
        return gateway_error(504, "Gateway Time-out")
    if rule := strike("submit_hang"):
        return Hung(rule.delay)
    if rule := strike("submit_error_with_task"):
        return envelope(shown, status=rule.status, code=rule.status, message="Internal server error")
    if rule := strike("submit_garbage"):
        return garble(envelope(shown), rule.form)
    return None


def _is_http_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
