"""Jobs as lines of JSON: each is checked by itself, and written to a file in the form that COPY takes.

Neither the body nor its jobs are in memory as a whole: a request of 100,000 lines needs a few dozen megabytes.
"""

import gzip
import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from typing import IO

from models.transitions.batches.filling import NULL
from models.transitions.jobs import NewJob
from models.transitions.uploads import UploadUse
from rushes.catalog import PROMPT_LIMIT, URL_LIMIT, is_data_url
from rushes.errors import InvalidInput, Problem, Refused
from rushes.jobs.own_values import CLIENT_REF_LIMIT, METADATA_BYTES
from rushes.jobs.pushing import PROBLEM_LIMIT, JobOrder, Warned, check_order, choose_stems

LINE_BYTES = 2 * (12 * (PROMPT_LIMIT + CLIENT_REF_LIMIT) + URL_LIMIT + METADATA_BYTES)
"""Twice the longest job: JSON may write one character with twelve bytes."""
EXPANDED_BYTES = 1_000_000_000
"""The most bytes of a body after it is expanded. It is read in pieces, so this bounds time and not memory."""
PROBLEMS_OF_A_LINE = 10
_BOM = b"\xef\xbb\xbf"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class BodyTooLarge(Refused):
    """The expanded body is larger than any body may be."""


@dataclass(slots=True)
class CheckedLines:
    """Jobs that have passed all checks. `rows` has a line for each, for `add_jobs`."""

    rows: IO[bytes]
    numbers: list[int] = field(default_factory=list)  # of their lines, from 1
    references: list[str | None] = field(default_factory=list)
    stems: list[str | None] = field(default_factory=list)  # names of the jobs' files, each once
    cost: Decimal = Decimal(0)
    warnings: Counter[str] = field(default_factory=Counter)
    uses: list[UploadUse] = field(default_factory=list)

    def add(self, number: int, job: NewJob, warnings: Iterable[str]) -> None:
        """Add the job of a line."""
        self.rows.write(_write_row(job))
        for parameter, sha256 in job.uploads.items():
            place, name = len(self.numbers), f"{name_line(number)}."
            self.uses.append(UploadUse(place, name, job.video_model, parameter, sha256))
        self.numbers.append(number)
        self.references.append(job.client_ref)
        self.cost += job.price
        self.warnings.update(warnings)

    def list_warnings(self) -> tuple[Warned, ...]:
        return tuple(Warned(message, jobs) for message, jobs in self.warnings.items())


@dataclass(slots=True)
class RefusedLines:
    """The number of invalid lines, and what is wrong with the first of them."""

    count: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, number: int, error: InvalidInput) -> None:
        """Add an invalid line."""
        self.count += 1
        if self.count <= PROBLEM_LIMIT:
            self.problems += [each.under(name_line(number)) for each in error.problems[:PROBLEMS_OF_A_LINE]]

    def raise_if_any(self, total: int) -> None:
        """Raise `InvalidInput` if one of the lines is invalid."""
        if self.count:
            message = f"{self.count:,} of {total:,} are invalid: nothing was stored"
            raise InvalidInput([Problem("lines", message), *self.problems])


@contextmanager
def check_lines(
    body: IO[bytes], read: Callable[[bytes], JobOrder], *, is_gzip: bool, max_jobs: int
) -> Iterator[CheckedLines]:
    """Check a body of one job per line, which `read` parses. Blank lines count, but are no jobs.

    Raises `InvalidInput` that names the first invalid lines, `BodyTooLarge`, or `Refused` if it is not gzip.
    """
    with tempfile.TemporaryFile() as rows:
        checked, refused = CheckedLines(rows), RefusedLines()
        for number, line in _number_lines(body, is_gzip=is_gzip):
            is_blank = not line or line.isspace()
            if number > 2 * max_jobs or (not is_blank and len(checked.numbers) + refused.count >= max_jobs):
                message = f"a request takes at most {max_jobs:,} jobs (RUSHES_MAX_BATCH_JOBS), and as many blank lines"
                raise InvalidInput([Problem("lines", message)])
            if is_blank:
                continue
            try:
                checked.add(number, *_check_line(line, read))
            except InvalidInput as error:
                refused.add(number, error)
        refused.raise_if_any(len(checked.numbers) + refused.count)
        if not checked.numbers:
            raise InvalidInput([Problem("lines", "the body holds no job")])
        checked.stems = choose_stems(checked.references, has_others=True)
        rows.seek(0)
        yield checked


def name_line(number: int) -> str:
    """Return the field that stands for a line, from 1."""
    return f"lines.{number}"


def _check_line(line: bytes, read: Callable[[bytes], JobOrder]) -> tuple[NewJob, tuple[str, ...]]:
    if len(line) > LINE_BYTES:
        raise InvalidInput([Problem("", f"has more than {LINE_BYTES:,} bytes")])
    order = read(line)
    files = [name for name, value in order.input.items() if isinstance(value, str) and is_data_url(value)]
    if files:
        message = "a line takes no file: send it to POST /v1/uploads first, and give its reference"
        raise InvalidInput([Problem(f"input.{name}", message) for name in files])
    return check_order(order)


def _number_lines(body: IO[bytes], *, is_gzip: bool) -> Iterator[tuple[int, bytes]]:
    """Yield the lines, each with its number. Of a line that is too long, only the beginning."""
    source: IO[bytes] = gzip.GzipFile(fileobj=body) if is_gzip else body  # type: ignore[assignment] # it reads bytes
    size = 0
    try:
        for number in count(1):
            line = begin = source.readline(LINE_BYTES + 1)
            while begin and not begin.endswith(b"\n"):
                size += len(begin)
                _check_size(size)
                begin = source.readline(LINE_BYTES + 1)
            size += len(begin)
            _check_size(size)
            if not line:
                return
            yield number, line.removeprefix(_BOM) if number == 1 else line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"the body is not gzip, or not all of it: {error}") from None


def _check_size(size: int) -> None:
    if size > EXPANDED_BYTES:
        raise BodyTooLarge(f"the body expands to more than {EXPANDED_BYTES:,} bytes: send it in several requests")


def _write_row(job: NewJob) -> bytes:
    """Return a job as COPY takes it, from the column `video_model` on."""
    columns = (
        job.video_model,
        _write_json(job.input),
        str(job.price),
        str(job.priority),
        str(job.max_attempts),
        NULL if job.client_ref is None else job.client_ref.translate(_ESCAPES),
        NULL if job.client_metadata is None else _write_json(job.client_metadata),
    )
    return ("\t".join(columns) + "\n").encode()


def _write_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
