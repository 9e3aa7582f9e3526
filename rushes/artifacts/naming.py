"""The names of files in the store. They are readable, and no two jobs share one."""

import os
from pathlib import PurePosixPath
from uuid import UUID

from slugify import slugify

from models.tables.access import DEFAULT_TENANT_NAME
from rushes.errors import InvalidInput, Problem

SLUG_LIMIT = 60
_SLUG_SOURCE_LIMIT = 400  # a prompt may have 5,000 characters; there is no use in transliterating them all
_PART_LIMIT_BYTES = 255  # the longest file name that common file systems allow


def video_name(
    *,
    job_id: UUID,
    prompt: str,
    batch: str | None = None,
    number: int | None = None,
    total: int | None = None,
    stem: str | None = None,
) -> str:
    """`<batch>/<stem>.mp4` or `<batch>/<number>-<slug>.mp4`, or `jobs/<stem or slug>-<job id>.mp4` without a batch.

    A batch's name is unique in its tenant and valid as a folder name, and stems and numbers are unique in their batch,
    so no two jobs of a tenant share a name.
    Numbers are padded to the width of `total`, so that a listing has the order of the push.
    """
    source = prompt[:_SLUG_SOURCE_LIMIT]
    slug = stem or slugify(source, max_length=SLUG_LIMIT, word_boundary=True, save_order=True) or "video"
    if batch is None or number is None:
        return f"jobs/{slug}-{job_id.hex}.mp4"
    return f"{batch}/{stem or f'{number:0{len(str(total or number))}d}-{slug}'}.mp4"


def place_for(tenant: str, name: str) -> str:
    """Return the name of a tenant's file or folder in the store: below `@<tenant>/`, except for the tenant `default`.

    No name of a batch begins with `@`.
    """
    return name if tenant == DEFAULT_TENANT_NAME else f"@{tenant}/{name}"


def duplicate_name(name: str, *, purchase: int) -> str:
    """Return the name for a duplicate purchase's video: the job's video name with the number of the purchase."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.duplicate-{purchase}{path.suffix}"))


def poster_name(name: str) -> str:
    """Return the name of a video's poster frame."""
    return str(PurePosixPath(name).with_suffix(".jpg"))


def unverified_name(name: str, *, sha256: str) -> str:
    """Return the name for bytes that arrived instead of a video.

    It contains a part of their checksum, so that a row never points to bytes other than the ones it describes.
    """
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{sha256[:12]}.unverified"))


def check_name(name: str) -> PurePosixPath:
    """Return the name as a path below the root of a store. Raises `InvalidInput` for any other name.

    Parts that begin with a dot are reserved for the store itself.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or str(path) != name:
        raise InvalidInput([Problem("name", f"must be a relative path in its simplest form, not {name!r}")])
    for part in path.parts:
        if part.startswith(".") or "\\" in part or not part.isprintable():
            raise InvalidInput([Problem("name", f"has a part that is hidden, special or unprintable: {part!r}")])
        if len(os.fsencode(part)) > _PART_LIMIT_BYTES:
            raise InvalidInput(
                [Problem("name", f"has a part of more than {_PART_LIMIT_BYTES} bytes: {part[:40]!r}...")]
            )
    return path
