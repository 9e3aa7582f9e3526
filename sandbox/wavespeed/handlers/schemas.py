"""The provider's checks of an input, and its error texts."""

from collections.abc import Mapping
from typing import Any

from rushes.catalog import PROMPT_LIMIT, VIDEO_MODELS, Parameter, VideoModel

_JSON_TYPES = {"text": "string", "url": "string", "integer": "integer", "number": "number", "flag": "boolean"}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "url": (str,),
    "integer": (int,),
    "number": (int, float),
    "flag": (bool,),
}
_ARTICLES = {"integer": "an"}
_MODELS_BY_ID = {model.id: model for model in VIDEO_MODELS}


def find_model(model_id: str) -> VideoModel | None:
    """The model with exactly this id; the provider has no short names."""
    return _MODELS_BY_ID.get(model_id)


def split_input(model: VideoModel, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The inputs in a body that the model knows, in the order sent, and the names of the unknown keys.

    A null counts as missing. The provider silently ignores unknown keys and bills the defaults. It does not offer
    `enable_base64_output` and `stream` for these video models.
    """
    known = {parameter.name for parameter in model.parameters}
    given = {name: _mend(value) for name, value in body.items() if name in known and value is not None}
    return given, [name for name in body if name not in known]


def complain(model: VideoModel, given: Mapping[str, Any]) -> str | None:
    """The message with which the provider refuses this input; None if it is valid."""
    for parameter in model.parameters:
        if sentence := _complain_about(parameter, given):
            return sentence
    if model.region_seconds is None:
        return None
    shortest, longest = model.region_seconds
    if shortest <= model.output_seconds(with_defaults(model, given)) <= longest:
        return None
    return f"the region from start_time to end_time must last {shortest} to {longest} seconds"


def with_defaults(model: VideoModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """The input that is rendered and billed: in the order of the schema, with defaults for missing values."""
    spelled = {each.name: given.get(each.name, each.default) for each in model.parameters}
    return {name: value for name, value in spelled.items() if value is not None}


def _complain_about(parameter: Parameter, given: Mapping[str, Any]) -> str | None:
    name, kind = parameter.name, parameter.kind
    if name not in given:
        return f"{name} is required" if parameter.required else None
    value = given[name]
    is_right_type = isinstance(value, _PYTHON_TYPES[kind]) and (kind == "flag" or not isinstance(value, bool))
    if not is_right_type:
        return f"{name} must be {_ARTICLES.get(kind, 'a')} {_JSON_TYPES[kind]}"
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
