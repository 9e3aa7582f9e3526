"""The meaning of a table's columns and of a JSON object's keys, whatever their owner calls them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from rushes.catalog import UNSUPPORTED, VIDEO_MODELS
from rushes.errors import InvalidInput, Problem

PROMPT, CLIENT_REF, METADATA = "prompt", "client_ref", "metadata"

_SYNONYMS = {
    PROMPT: ("prompts", "text", "text_prompt", "prompt_text", "video_prompt", "positive_prompt", "description"),
    "model": ("video_model", "model_id", "model_name"),
    "duration": (
        *("seconds", "secs", "sec", "length", "duration_s", "duration_sec", "duration_seconds", "length_s"),
        *("dauer", "durée", "duración", "durata"),
    ),
    "image": ("image_url", "img", "img_url", "image_path", "input_image", "first_frame", "start_image"),
    "video": ("video_url", "video_path", "input_video", "source_video"),
    "generate_audio": ("audio", "sound", "with_audio"),
    "start_time": ("start", "start_s", "start_seconds"),
    "end_time": ("end", "end_s", "end_seconds"),
    "priority": (),
    "max_attempts": ("attempts",),
    METADATA: (),
    CLIENT_REF: ("id", "name", "scene_id", "shot_id", "clip_id", "external_id", "reference", "ref", "key"),
}
"""A field of a job, and other names for its column. The first name that a file has is taken."""

_FIELDS = frozenset(_SYNONYMS) | UNSUPPORTED | {each.name for model in VIDEO_MODELS for each in model.parameters}
_NOT_ON_OFFER = frozenset(
    {"aspect_ratio", "camera_motion", "cfg", "cfg_scale", "fps", "frame_rate", "frames", "guidance", "guidance_scale"}
    | {"height", "lora", "loras", "num_frames", "num_inference_steps", "resolution", "size", "steps", "width"}
)
"""Parameters that other providers' models have. A file that gives one expects an effect, so it is not metadata."""
_NEAR = 0.8


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """What the command's options say: `--column FIELD=COLUMN` and `--ignore COLUMN`."""

    chosen: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()


def read_column_options(chosen: Iterable[str], ignored: Iterable[str]) -> ColumnOptions:
    """Read the values of the options. Raises `InvalidInput`."""
    pairs: dict[str, str] = {}
    for each in chosen:
        name, equals, column = (part.strip() for part in each.partition("="))
        if not equals or not column:
            raise InvalidInput([Problem("--column", f"must be FIELD=COLUMN, such as prompt=Text, not {each!r}")])
        if name not in _FIELDS:
            raise InvalidInput([Problem("--column", f"has no field {name!r}; fields: {', '.join(sorted(_FIELDS))}")])
        pairs[name] = column
    return ColumnOptions(pairs, frozenset(simplify(each) for each in ignored))


def simplify(name: str) -> str:
    """`Duration (s)` -> `duration_s`."""
    return re.sub(r"\W+", "_", name.strip().casefold()).strip("_")


def assign_columns(columns: Iterable[str], options: ColumnOptions) -> tuple[dict[str, str], list[str]]:
    """Return the field of each known column, and the columns that become metadata.

    Raises `InvalidInput` for two columns of one name, and for a name that is close to a field's or asks for something
    that no video model does: it would be bought without effect.
    """
    simple = _simplify_all(columns)
    fields = _find_fields(simple, options)
    metadata = [name for key, name in simple.items() if name not in fields and key not in options.ignored]
    problems = [problem for name in metadata if (problem := _find_problem(name))]
    problems += _find_rivals(simple, fields, options)
    if problems:
        raise InvalidInput(problems)
    return fields, metadata


def _find_rivals(simple: Mapping[str, str], fields: Mapping[str, str], options: ColumnOptions) -> Iterator[Problem]:
    """Yield a problem for each field that several columns may be, none of which has its own name."""
    for column, name in fields.items():
        if name == CLIENT_REF or name in options.chosen or simplify(column) == name:
            continue
        for rival in _list_synonyms(name, simple, fields, options)[:1]:
            advice = f"add --column {name}={column!r}, or --ignore {rival!r}"
            yield Problem(name, f"{column!r} and {rival!r} may be this: {advice}")


def check_chosen(columns: Iterable[str], options: ColumnOptions) -> None:
    """Raise `InvalidInput` if an option names a column that the table does not have."""
    simple = _simplify_all(columns)
    named = [("--column", each) for each in options.chosen.values()] + [("--ignore", each) for each in options.ignored]
    problems = [
        Problem(option, f"there is no column {name!r}; the columns are {', '.join(simple.values())}")
        for option, name in named
        if simplify(name) not in simple
    ]
    if problems:
        raise InvalidInput(problems)


def is_header(cells: Iterable[str], options: ColumnOptions) -> bool:
    """Return whether a row names at least one field of a job."""
    return bool(_find_fields_of(cells, options))


def names_prompts(cells: Iterable[str], options: ColumnOptions) -> bool:
    """Return whether a row names the column of the prompts."""
    return PROMPT in _find_fields_of(cells, options).values()


def _find_fields_of(cells: Iterable[str], options: ColumnOptions) -> dict[str, str]:
    return _find_fields({simplify(cell) or cell: cell for cell in cells}, options)


def _find_fields(simple: Mapping[str, str], options: ColumnOptions) -> dict[str, str]:
    chosen = {name: simplify(column) for name, column in options.chosen.items()}
    fields = {simple[key]: name for name, key in chosen.items() if key in simple}
    for name in sorted(_FIELDS - set(chosen)):
        if found := _list_synonyms(name, simple, fields, options):
            fields[found[0]] = name
    return fields


def _list_synonyms(
    name: str, simple: Mapping[str, str], fields: Mapping[str, str], options: ColumnOptions
) -> list[str]:
    synonyms = (name, *_SYNONYMS.get(name, ()))
    return [
        simple[each]
        for each in synonyms
        if each in simple and simple[each] not in fields and each not in options.ignored
    ]


def _simplify_all(columns: Iterable[str]) -> dict[str, str]:
    """Return each column by its simple name. Raises `InvalidInput` for two of one name."""
    simple: dict[str, str] = {}
    for column in columns:
        key = simplify(column) or column
        if key in simple:
            twin = "is given twice" if simple[key] == column else f"has the same name as {simple[key]!r}"
            raise InvalidInput([Problem(column, f"{twin}: rename one of the columns")])
        simple[key] = column
    return simple


def _find_problem(column: str) -> Problem | None:
    key = simplify(column)
    if key in _NOT_ON_OFFER:
        return Problem(column, f"no video model has this parameter: remove the column, or add --ignore {column!r}")
    if near := get_close_matches(key, _FIELDS, n=1, cutoff=_NEAR):
        name = near[0]
        return Problem(
            column, f"is close to {name}: rename it, or add --column {name}={column!r} or --ignore {column!r}"
        )
    return None
