"""The names that artifacts get: readable first, and never shared by two jobs."""

import os
from pathlib import PurePosixPath
from uuid import UUID

from slugify import slugify

from rushes.errors import InvalidInput, Problem

SLUG_LIMIT = 60
_SLUG_SOURCE_LIMIT = 400  # a prompt may have 5,000 characters; transliterating them all would buy nothing
_PART_LIMIT_BYTES = 255  # the longest file name that common file systems take


def video_name(
    *, job_id: UUID, prompt: str, batch: str | None = None, number: int | None = None, total: int | None = None
) -> str:
    """`<batch>/<number>-<slug>.mp4`, or `jobs/<slug>-<job id>.mp4` without a batch.

    A batch's name is unique and fit for a folder, and a number is unique in it, so no two jobs share a name. Numbers
    are padded to the width of `total`, so that a listing sorts as the batch was pushed.
    """
    slug = _slug(prompt, otherwise="video")
    if batch is None or number is None:
        return f"jobs/{slug}-{job_id.hex}.mp4"
    return f"{batch}/{number:0{len(str(total or number))}d}-{slug}.mp4"


def duplicate_name(name: str, *, purchase: int) -> str:
    """The name beside a job's video for that of a duplicate purchase, by its number among the purchases of the job."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.duplicate-{purchase}{path.suffix}"))


def poster_name(name: str) -> str:
    """The name of the poster frame that belongs to a video."""
    return str(PurePosixPath(name).with_suffix(".jpg"))


def unverified_name(name: str, *, sha256: str) -> str:
    """The name under which bytes are kept that arrived in the place of a video and are none.

    It holds a part of their checksum, so that a row never names other bytes than those it describes.
    """
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{sha256[:12]}.unverified"))


def check_name(name: str) -> PurePosixPath:
    """The name as a path that stays below the root of a store; raises `InvalidInput` for any other.

    Parts that begin with a dot are kept for the store itself.
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


def _slug(text: str, *, otherwise: str) -> str:
    return slugify(text[:_SLUG_SOURCE_LIMIT], max_length=SLUG_LIMIT, word_boundary=True, save_order=True) or otherwise
