"""The video models on offer: their parameters, limits and prices. Pure: standard library only.

To add a video model, add one entry to `VIDEO_MODELS`. Source: the provider's model pages as reviewed in late 2026.
LTX-2 Pro and Fast render 1920x1080 with synchronised audio and support neither `seed` nor `negative_prompt`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

from rushes.errors import InvalidInput, NotFound, Problem

PROMPT_LIMIT = 5_000
URL_LIMIT = 8_192
REFERENCE = "upload:sha256:"
"""The beginning of an address that stands for an uploaded file; the file's SHA-256 in lower-case hex follows."""
_REFERENCE = re.compile(REFERENCE + "([0-9a-f]{64})")
UNSUPPORTED = frozenset({"negative_prompt", "seed"})
"""Parameters of other video models. They are dropped with a warning, because their absence costs nothing."""

ParameterKind = Literal["text", "url", "integer", "number", "flag"]
MediaKind = Literal["image", "video"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input of a video model. If `default` is None, the caller must give a value."""

    name: str
    kind: ParameterKind
    about: str
    default: Any = None
    choices: tuple[int, ...] = ()
    minimum: float | None = None
    accepts: MediaKind | None = None  # the kind of file at an address

    @property
    def required(self) -> bool:
        return self.default is None

    def problem_with(self, value: object) -> str | None:
        """Describe the problem with this value in a few words; None if there is none."""
        if message := _CHECKS[self.kind](value):
            return message
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(str, self.choices))}, not {value}"
        if self.minimum is not None and isinstance(value, (int, float)) and value < self.minimum:
            return f"must be at least {self.minimum:g}, not {value:g}"
        return None


@dataclass(frozen=True, slots=True)
class VideoModel:
    """A video model as the provider sells it."""

    id: str
    name: str
    about: str
    parameters: tuple[Parameter, ...]
    price_per_second: Decimal
    width: int = 1920
    height: int = 1080
    region_seconds: tuple[int, int] | None = None
    """The shortest and longest region, for video models that render from `start_time` to `end_time`."""

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)

    def output_seconds(self, values: Mapping[str, Any]) -> Decimal:
        """Return the length of the video that a normalised input asks for."""
        if self.region_seconds is None:
            return Decimal(values["duration"])
        return Decimal(str(values["end_time"])) - Decimal(str(values["start_time"]))

    def price(self, values: Mapping[str, Any]) -> Decimal:
        """Return the dollars that the provider charges for a normalised input, to the hundredth of a cent."""
        return (self.price_per_second * self.output_seconds(values)).quantize(Decimal("0.0001"))


@dataclass(frozen=True, slots=True)
class NormalisedInput:
    """An input with every parameter given explicitly, so that we can recognise it again later."""

    values: dict[str, Any]
    warnings: tuple[str, ...] = ()


def _text_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"must be text, not {_kind_of(value)}"
    if not value.strip():
        return "must not be empty"
    if len(value) > PROMPT_LIMIT:
        return f"must have at most {PROMPT_LIMIT} characters, not {len(value)}"
    if not value.isprintable() and any(ord(char) == 0 or 0xD800 <= ord(char) <= 0xDFFF for char in value):
        return "must not contain NUL or half of a surrogate pair"
    return None


def find_reference(value: object) -> str | None:
    """Return the SHA-256 of the upload that a value stands for; None for any other value."""
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else None


def is_data_url(value: str) -> bool:
    """Return whether a value is a data URL. A push replaces it with a reference."""
    return value[:5].lower() == "data:"


def find_uploads(model: VideoModel, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of an input that are uploads, with the SHA-256 of each."""
    addresses = [each.name for each in model.parameters if each.kind == "url"]
    return {name: found for name in addresses if (found := find_reference(values.get(name)))}


def _address_problem(value: object) -> str | None:
    return None if find_reference(value) else check_url(value)


def check_url(value: object) -> str | None:
    """Describe the problem with an http(s) URL in a few words; None if there is none."""
    if not isinstance(value, str) or not value:
        return f"must be an http or https URL, not {_kind_of(value)}"
    if len(value) > URL_LIMIT:
        return f"must have at most {URL_LIMIT} characters, not {len(value)}"
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(char.isspace() or not char.isprintable() for char in value):
        return "must be an http or https URL"
    return None


def _integer_problem(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole else f"must be a whole number, not {_show(value)}"


def _number_problem(value: object) -> str | None:
    finite = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
    return None if finite else f"must be a number of seconds, not {_show(value)}"


def _flag_problem(value: object) -> str | None:
    return None if isinstance(value, bool) else f"must be true or false, not {_kind_of(value)}"


def _show(value: object) -> str:
    return repr(value)[:40] if isinstance(value, (str, float)) else _kind_of(value)


def _kind_of(value: object) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "nothing" if value is None or value == "" else names.get(type(value), type(value).__name__)


_CHECKS: Mapping[str, Callable[[object], str | None]] = {
    "text": _text_problem,
    "url": _address_problem,
    "integer": _integer_problem,
    "number": _number_problem,
    "flag": _flag_problem,
}

PROMPT = Parameter("prompt", "text", f"what to render, at most {PROMPT_LIMIT} characters")
IMAGE = Parameter("image", "url", "first frame: http(s) URL, data URL or upload", accepts="image")
AUDIO = Parameter("generate_audio", "flag", "synchronised sound", default=True)
PRO_DURATION = Parameter("duration", "integer", "seconds", default=6, choices=(6, 8, 10))
FAST_DURATION = Parameter("duration", "integer", "seconds", default=6, choices=tuple(range(6, 21, 2)))

VIDEO_MODELS: tuple[VideoModel, ...] = (
    VideoModel(
        id="lightricks/ltx-2-pro/text-to-video",
        name="ltx-2-pro",
        about="LTX-2 Pro, text to video",
        parameters=(PROMPT, PRO_DURATION, AUDIO),
        price_per_second=Decimal("0.06"),
    ),
    VideoModel(
        id="lightricks/ltx-2-pro/image-to-video",
        name="ltx-2-pro-i2v",
        about="LTX-2 Pro, image to video",
        parameters=(IMAGE, PROMPT, PRO_DURATION, AUDIO),
        price_per_second=Decimal("0.06"),
    ),
    VideoModel(
        id="lightricks/ltx-2-fast/text-to-video",
        name="ltx-2-fast",
        about="LTX-2 Fast, text to video",
        parameters=(PROMPT, FAST_DURATION, AUDIO),
        price_per_second=Decimal("0.04"),
    ),
    VideoModel(
        id="lightricks/ltx-2-fast/image-to-video",
        name="ltx-2-fast-i2v",
        about="LTX-2 Fast, image to video",
        parameters=(IMAGE, PROMPT, FAST_DURATION, AUDIO),
        price_per_second=Decimal("0.04"),
    ),
    VideoModel(
        id="lightricks/ltx-2-retake",
        name="ltx-2-retake",
        about="LTX-2 Retake, renders a region of a video again",
        parameters=(
            Parameter("video", "url", "video to change, at most 100 MB: URL, data URL or upload", accepts="video"),
            PROMPT,
            Parameter("start_time", "number", "second at which the region begins", default=0, minimum=0),
            Parameter("end_time", "number", "second at which the region ends", minimum=0),
        ),
        price_per_second=Decimal("0.10"),
        region_seconds=(2, 16),
    ),
)


def find_video_model(name: object) -> VideoModel | None:
    """Return the video model with this id or short name."""
    return next((model for model in VIDEO_MODELS if name in (model.id, model.name)), None)


def get_video_model(name: str) -> VideoModel:
    """Like `find_video_model`, but raises `NotFound` with the list of known models."""
    if model := find_video_model(name):
        return model
    raise NotFound(describe_unknown(name))


def describe_unknown(name: object) -> str:
    """Describe the error: there is no video model with this name. Lists the known models."""
    return f"unknown video model {name!r}; choose one of {', '.join(model.name for model in VIDEO_MODELS)}"


def normalise_input(model: VideoModel, given: Mapping[str, Any]) -> NormalisedInput:
    """Check an input and make every parameter explicit.

    Parameters in `UNSUPPORTED` are dropped with a warning. Any other unknown one is refused, because the provider would
    silently ignore it and bill a default. Raises `InvalidInput` with every problem found.
    """
    problems = [
        Problem(name, f"{model.name} has no such parameter; it has {', '.join(each.name for each in model.parameters)}")
        for name in given
        if name not in UNSUPPORTED and model.parameter(name) is None
    ]
    values: dict[str, Any] = {}
    for parameter in model.parameters:
        value = given.get(parameter.name, parameter.default)
        if value is None and parameter.required:
            problems.append(Problem(parameter.name, f"is required by {model.name}"))
        elif message := parameter.problem_with(value):
            problems.append(Problem(parameter.name, message))
        else:
            values[parameter.name] = value.strip() if parameter.kind == "text" else value
    if not problems:
        problems = _region_problems(model, values)
    if problems:
        raise InvalidInput(problems)
    dropped = [name for name in given if model.parameter(name) is None]
    return NormalisedInput(values, tuple(f"{name} is not supported by {model.name}: dropped" for name in dropped))


def _region_problems(model: VideoModel, values: Mapping[str, Any]) -> list[Problem]:
    if model.region_seconds is None:
        return []
    shortest, longest = model.region_seconds
    length = model.output_seconds(values)
    if shortest <= length <= longest:
        return []
    return [Problem("end_time", f"the region must last {shortest} to {longest} seconds, not {length}")]


_FLAGS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False, "1": True, "0": False}
_AMOUNT = re.compile(r"([+-]?\d+(?:[.,]\d+)?)\s*(?:s|secs?|seconds?)?", re.IGNORECASE)


def read_loose_value(model: VideoModel, name: str, value: Any) -> Any:
    """Read a value as people write it in files: `"6"`, `6.0` and `10 s` are numbers, and `no` is false.

    Blanks around a URL are dropped, and those within it are encoded. Anything else is returned as it is.
    """
    parameter = model.parameter(name)
    kind = parameter.kind if parameter else "text"
    if kind in ("integer", "number"):
        return read_number(value)
    if kind == "flag" and isinstance(value, str):
        return _FLAGS.get(value.strip().lower(), value)
    return value.strip().replace(" ", "%20") if kind == "url" and isinstance(value, str) else value


def read_number(value: Any) -> Any:
    """Read a number with or without a unit of seconds. Whole numbers are integers."""
    found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    number = float(found[1].replace(",", ".")) if found else value
    return int(number) if isinstance(number, float) and number.is_integer() else number
