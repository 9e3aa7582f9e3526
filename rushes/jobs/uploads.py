"""Files as inputs of jobs: they arrive as bytes or data URLs, are stored once, and a job's input refers to them."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID

from sqlalchemy.orm import Session

from models import transitions
from models.db.session import Sessions, transaction
from models.transitions.jobs import NewJob
from models.transitions.uploads import KeptUpload, NewUpload, UploadUse
from rushes.artifacts.media import find_media_type
from rushes.catalog import REFERENCE, MediaKind, VideoModel, get_video_model, is_data_url
from rushes.errors import InvalidInput, NotFound, Problem

LARGEST_UPLOAD = 30_000_000
"""The most bytes of a file. The provider accepts 300 MB, but we keep files in Postgres and in a worker's memory."""
_DATA_URL = re.compile(r"data:[^,]*?(;base64)?,", re.IGNORECASE)

Files = Mapping[str, NewUpload]


def check_media(content: bytes, *, field: str, accepts: MediaKind | None = None) -> NewUpload:
    """Return a file that may be stored. Raises `InvalidInput` if it is empty, too large or of another kind."""
    if not content:
        raise InvalidInput([Problem(field, "is empty")])
    if len(content) > LARGEST_UPLOAD:
        message = f"has {len(content):,} bytes, more than the limit of {LARGEST_UPLOAD:,}: give an http(s) URL instead"
        raise InvalidInput([Problem(field, message)])
    found = find_media_type(content)
    if found is None or not found.startswith(accepts or ""):
        raise InvalidInput([Problem(field, describe_kind(found, accepts))])
    return NewUpload(hashlib.sha256(content).hexdigest(), found, content)


def describe_kind(found: str | None, accepts: MediaKind | None) -> str:
    """Describe the problem with a file of the wrong kind."""
    wanted = {"image": "an image", "video": "a video", None: "an image or a video"}[accepts]
    return f"is not {wanted}" + (f", but {found}" if found else "")


def read_data_url(value: object, *, field: str) -> bytes | None:
    """Return the bytes in a data URL; None if the value is something else. Raises `InvalidInput` if it is broken."""
    if not isinstance(value, str) or not is_data_url(value):
        return None
    found = _DATA_URL.match(value)
    if found is None:
        raise InvalidInput([Problem(field, "is not a readable data URL: it has no comma")])
    try:
        content = unquote_to_bytes(value[found.end() :])
        return base64.b64decode(content.translate(None, b" \t\r\n"), validate=True) if found[1] else content
    except (ValueError, binascii.Error) as error:
        raise InvalidInput([Problem(field, f"is not a readable data URL: {error}")]) from None


def read_files(model: VideoModel, given: Mapping[str, Any]) -> tuple[dict[str, Any], Files]:
    """Replace the data URLs in an input with references to their bytes. Raises `InvalidInput`."""
    values, files = dict(given), dict[str, NewUpload]()
    for parameter in model.parameters:
        field = f"input.{parameter.name}"
        if parameter.kind != "url" or (content := read_data_url(given.get(parameter.name), field=field)) is None:
            continue
        file = check_media(content, field=field, accepts=parameter.accepts)
        files[file.sha256] = file
        values[parameter.name] = REFERENCE + file.sha256
    return values, files


def keep_upload(sessions: Sessions, content: bytes, *, tenant_id: UUID) -> KeptUpload:
    """Store a file. It stays for at least a day, and while a job uses it. Raises `InvalidInput`."""
    file = check_media(content, field="")
    with transaction(sessions) as session:
        transitions.uploads.keep_uploads(session, [file], tenant_id=tenant_id)
    return KeptUpload(file.sha256, file.content_type, len(content))


def use_upload(sessions: Sessions, sha256: str, *, tenant_id: UUID) -> KeptUpload:
    """Return a stored file, which stays for another day. Raises `NotFound`."""
    with transaction(sessions) as session:
        found = transitions.uploads.use_uploads(session, [sha256], tenant_id=tenant_id)
    if not found:
        raise NotFound(f"there is no upload {sha256[:64]!r}")
    return found[0]


def keep_files(
    session: Session, jobs: Iterable[NewJob], files: Files, *, tenant_id: UUID, prefix: str = "jobs.{index}."
) -> None:
    """Store the files of new jobs, and keep all uploads that the jobs use. Raises `InvalidInput` for unknown ones."""
    transitions.uploads.keep_uploads(session, files.values(), tenant_id=tenant_id)
    uses = [
        UploadUse(index, prefix.format(index=index), job.video_model, name, sha256)
        for index, job in enumerate(jobs)
        for name, sha256 in job.uploads.items()
    ]
    require_uploads(session, uses, tenant_id=tenant_id)


def require_uploads(session: Session, uses: Sequence[UploadUse], *, tenant_id: UUID) -> None:
    """Keep the uploads that new jobs use. Raises `InvalidInput` for those that the tenant has not sent."""
    if not uses:
        return
    names = {use.sha256 for use in uses}
    found = {each.sha256: each for each in transitions.uploads.use_uploads(session, names, tenant_id=tenant_id)}
    problems = []
    for _, field, video_model, name, sha256 in uses:
        parameter = get_video_model(video_model).parameter(name)
        kept, accepts = found.get(sha256), parameter.accepts if parameter else None
        message = "is not stored: send the file to POST /v1/uploads first"
        if kept is not None:
            fits = kept.content_type.startswith(accepts or "")
            message = "" if fits else describe_kind(kept.content_type, accepts)
        if message:
            problems.append(Problem(f"{field}input.{name}", message))
    if problems:
        raise InvalidInput(problems[:100])
