"""Turn the lines of a prompt file and the options of a command into jobs for the API."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

from cli.local_files import LocalFiles
from cli.prompt_file.records import FileRefused, Line, LineProblem, PromptFile
from rushes.catalog import REFERENCE, VideoModel, describe_unknown, find_video_model, read_loose_value, read_number
from rushes.errors import InvalidInput, Problem
from rushes.jobs.pushing import MAX_ATTEMPTS, PRIORITY_LIMIT, JobOrder, check_order

_BOUNDS = {"priority": (-PRIORITY_LIMIT, PRIORITY_LIMIT), "max_attempts": (1, MAX_ATTEMPTS)}
NO_FILE = REFERENCE + "0" * 64
"""Stands for a file that cannot be read, so that its address causes no second problem."""
_WITHOUT_MODEL = Problem("model", "is missing: name a video model here, or name one for such lines with --model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Values from a command's options, for lines that do not set them. None leaves a value to the catalogue."""

    model: str | None = None
    duration: int | None = None
    audio: bool | None = None
    image: str | None = None
    priority: int | None = None
    max_attempts: int | None = None

    @property
    def parameters(self) -> dict[str, tuple[str, Any]]:
        """Return, per parameter of video models, the option that set it and its value."""
        given = {
            "duration": ("--duration", self.duration),
            "generate_audio": ("--audio", self.audio),
            "image": ("--image", self.image),
        }
        return {name: each for name, each in given.items() if each[1] is not None}


@dataclass(slots=True)
class Prepared:
    """Jobs for the API, the line of each, and warnings with counts."""

    jobs: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    cost: Decimal = Decimal(0)
    """Dollars, by the catalogue."""
    repeats: list[list[int]] = field(default_factory=list)
    """The lines of each group that asks for the same video."""
    files: LocalFiles = field(default_factory=lambda: LocalFiles(Path()))
    """The files to send before the push."""


@dataclass(slots=True)
class _FileFindings:
    problems: dict[LineProblem, None] = field(default_factory=dict)  # each once: a wrong option concerns many lines
    used: set[str] = field(default_factory=set)
    same: defaultdict[tuple[Any, ...], list[int]] = field(default_factory=lambda: defaultdict(list))
    """The lines of each order, by its video model and the values of its input, which are in the catalogue's order."""


def prepare_jobs(file: PromptFile, fill: Fill, *, max_jobs: int, takes: int = 1) -> Prepared:
    """Check every line against the catalogue. Options fill in missing values if they fit the line's video model.

    Each line becomes `takes` jobs.

    Raises `FileRefused` with every problem by line and field, or `InvalidInput` for an option that is itself wrong.
    """
    _check_options(fill)
    count = len(file.lines) * takes
    if count > max_jobs:
        message = f"holds {count:,} jobs; a batch takes at most {max_jobs:,}"
        raise FileRefused(file.name, [LineProblem(0, Problem("", message))])
    prepared, findings = Prepared(files=LocalFiles(Path(file.name).parent)), _FileFindings()
    for line in file.lines:
        _prepare_line(line, fill, prepared=prepared, findings=findings)
    if sum(each.problem == _WITHOUT_MODEL for each in findings.problems) == len(file.lines):
        problem = Problem("model", "no line names a video model: name one with --model")
        raise FileRefused(file.name, [LineProblem(0, problem)])
    if findings.problems:
        raise FileRefused(file.name, sorted(findings.problems, key=attrgetter("number")))
    prepared.jobs = [job for job in prepared.jobs for _ in range(takes)]
    prepared.numbers = [number for number in prepared.numbers for _ in range(takes)]
    prepared.cost *= takes
    unused = [option for option, _ in fill.parameters.values() if option not in findings.used]
    prepared.repeats = [numbers for numbers in findings.same.values() if len(numbers) > 1]
    prepared.warnings.update(f"{option} has no effect: no line that lacks this value can take it" for option in unused)
    return prepared


def _check_options(fill: Fill) -> None:
    problems = []
    if fill.model is not None and find_video_model(fill.model) is None:
        problems.append(Problem("--model", describe_unknown(fill.model)))
    for name in _BOUNDS:
        value = getattr(fill, name)
        if value is not None and (message := _bounds_problem(name, value)):
            problems.append(Problem(f"--{name.replace('_', '-')}", message))
    if problems:
        raise InvalidInput(problems)


def _prepare_line(line: Line, fill: Fill, *, prepared: Prepared, findings: _FileFindings) -> None:
    given = dict(line.fields)
    name = given.pop("model", fill.model)
    if name is None:
        findings.problems[LineProblem(line.number, _WITHOUT_MODEL)] = None
        return
    model = find_video_model(name.strip() if isinstance(name, str) else name)
    if model is None:
        findings.problems[LineProblem(line.number, Problem("model", describe_unknown(name)))] = None
        return
    order, problems = _take_order(given, fill, model=model)
    values = _fill_in(model, given, fill=fill, files=prepared.files, problems=problems)
    filled = {key: option for key, (option, _) in fill.parameters.items() if key in values and key not in given}
    findings.used.update(filled.values())
    try:
        job, warnings = check_order(
            JobOrder(model=model.name, input=values, client_ref=line.client_ref, metadata=line.metadata)
        )
    except InvalidInput as error:
        problems += [Problem(each.field.removeprefix("input."), each.message) for each in error.problems]
    else:
        prepared.cost += job.price
        prepared.warnings.update(warnings)
        findings.same[(model.id, *job.input.values())].append(line.number)
    for problem in problems:
        if option := filled.get(problem.field):
            found = LineProblem(0, Problem(option, f"{problem.message} ({model.name})"))
        else:
            found = LineProblem(line.number, problem)
        findings.problems[found] = None
    own = {"client_ref": line.client_ref, "metadata": line.metadata or None}
    own = {name: value for name, value in own.items() if value is not None}
    prepared.jobs.append({"model": model.name, "input": values, **order, **own})
    prepared.numbers.append(line.number)


def _take_order(given: dict[str, Any], fill: Fill, *, model: VideoModel) -> tuple[dict[str, int], list[Problem]]:
    """Remove priority and attempts from a line, because they are not parameters."""
    order: dict[str, int] = {}
    problems: list[Problem] = []
    for name in _BOUNDS:
        if model.parameter(name) is not None or (name not in given and getattr(fill, name) is None):
            continue
        value = read_number(given.pop(name, getattr(fill, name)))
        if message := _bounds_problem(name, value):
            problems.append(Problem(name, message))
        order[name] = value
    return order, problems


def _fill_in(
    model: VideoModel, given: Mapping[str, Any], *, fill: Fill, files: LocalFiles, problems: list[Problem]
) -> dict[str, Any]:
    """Return the input of a line, with references in place of files. Adds the problems of files to `problems`."""
    filled = {name: value for name, (_, value) in fill.parameters.items() if model.parameter(name) is not None}
    values = {**given, **{name: value for name, value in filled.items() if name not in given}}
    for parameter in model.parameters:
        if parameter.kind == "url" and parameter.name in values:
            try:
                values[parameter.name] = files.refer(values[parameter.name], parameter)
            except InvalidInput as error:
                problems += error.problems
                values[parameter.name] = NO_FILE
    return {name: read_loose_value(model, name, value) for name, value in values.items()}


def _bounds_problem(name: str, value: object) -> str | None:
    lowest, highest = _BOUNDS[name]
    if isinstance(value, bool) or not isinstance(value, int):
        return f"must be a whole number, not {value!r}"
    if not lowest <= value <= highest:
        return f"must be between {lowest} and {highest}, not {value}"
    return None
