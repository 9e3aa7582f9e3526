"""Images and videos in local files and data URLs: check them, then send each distinct file to the API once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rushes.catalog import REFERENCE, Parameter, find_reference, get_video_model, is_data_url, read_loose_value
from rushes.errors import InvalidInput, Problem
from rushes.jobs.uploads import LARGEST_UPLOAD, check_media, read_data_url
from rushes_client.connection import Connection
from rushes_client.errors import Declined
from stack.errors import CommandError

NOT_FOUND = 404
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to send. `source` is its path or its data URL: the bytes are read again when they are sent."""

    source: str
    content_type: str
    size: int


class Reading(NamedTuple):
    """The result of reading one value: a reference or a problem."""

    reference: str = ""
    problem: str = ""


def is_path(value: object) -> bool:
    """Return whether the value of an address is the path of a local file."""
    if not isinstance(value, str) or not value.strip() or find_reference(value) or is_data_url(value):
        return False
    return value.lower().startswith("file://") or not _SCHEME.match(value)


class LocalFiles:
    """The files that a prompt file names, by SHA-256. Relative paths start at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.found: dict[str, LocalFile] = {}
        self._folder = folder
        self._readings: dict[tuple[str, str], Reading] = {}  # many lines may name the same file

    @property
    def size(self) -> int:
        return sum(each.size for each in self.found.values())

    def refer(self, value: Any, parameter: Parameter) -> Any:
        """Replace a file by its reference; return any other value unchanged. Raises `InvalidInput` with the path."""
        if not is_path(value) and not (isinstance(value, str) and is_data_url(value)):
            return value
        key = (value, parameter.name)
        if key not in self._readings:
            self._readings[key] = self._read(value.strip(), parameter)
        reading = self._readings[key]
        if reading.problem:
            raise InvalidInput([Problem(parameter.name, reading.problem)])
        return reading.reference

    def _read(self, value: str, parameter: Parameter) -> Reading:
        try:
            source, content = self._load(value, field="")
            file = check_media(content, field="", accepts=parameter.accepts)
        except InvalidInput as error:
            return Reading(problem=f"{value}: {error}" if is_path(value) else str(error))
        self.found[file.sha256] = LocalFile(source, file.content_type, len(content))
        return Reading(REFERENCE + file.sha256)

    def _load(self, value: str, *, field: str) -> tuple[str, bytes]:
        if (content := read_data_url(value, field=field)) is not None:
            return value, content
        name = url2pathname(urlsplit(value).path) if value.lower().startswith("file://") else value
        path = self._folder / Path(name).expanduser()
        try:
            size = path.stat().st_size
            if size > LARGEST_UPLOAD:
                message = f"has {size:,} bytes, more than the limit of {LARGEST_UPLOAD:,}: give an http(s) URL instead"
                raise InvalidInput([Problem(field, message)])
            return str(path), path.read_bytes()
        except (OSError, ValueError, RuntimeError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise InvalidInput([Problem(field, f"is not an http(s) URL, nor a readable file: {reason}")]) from None

    def send(self, client: Connection) -> None:
        """Send the files that the API does not have yet."""
        for sha256, file in self.found.items():
            try:
                client.get("uploads", sha256)
            except Declined as declined:
                if declined.status != NOT_FOUND:
                    raise
                _, content = self._load(file.source, field=file.source[:80])
                if (
                    client.send("uploads", content=content, headers={"Content-Type": file.content_type})["sha256"]
                    != sha256
                ):
                    message = f"{file.source[:80]} has changed since it was checked"
                    raise CommandError(message, hint="run the same command again") from None


def read_replacements(client: Connection, job: str, pairs: Iterable[str]) -> dict[str, Any]:
    """Read `NAME=VALUE` pairs for a job's input, and send the files that they name. Raises `InvalidInput`."""
    model, files = get_video_model(client.get("jobs", job)["model"]), LocalFiles(Path())
    values: dict[str, Any] = {}
    for each in pairs:
        name, equals, value = each.partition("=")
        parameter = model.parameter(name.strip())
        if not equals or parameter is None:
            names = ", ".join(known.name for known in model.parameters)
            raise InvalidInput([Problem("--set", f"must be NAME=VALUE, with one of the names {names}, not {each!r}")])
        given = files.refer(value, parameter) if parameter.kind == "url" else value
        values[parameter.name] = read_loose_value(model, parameter.name, given)
    files.send(client)
    return values
