"""Copying a finished render: download, check, poster frame, and only then visible."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rushes.artifacts.download import DownloadLimits, download_file
from rushes.artifacts.errors import storage_errors
from rushes.artifacts.naming import check_name, poster_name
from rushes.artifacts.store import ArtifactStore
from rushes.artifacts.video import VideoFacts, probe_video


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A video that is visible and safe on disk, with its poster frame; sizes in bytes, SHA-256 in lower-case hex."""

    url: str
    bytes: int
    sha256: str
    facts: VideoFacts
    poster_url: str
    poster_bytes: int
    poster_sha256: str


def store_video(
    source_url: str,
    *,
    store: ArtifactStore,
    name: str,
    temporary_name: str,
    limits: DownloadLimits,
    keep_going: Callable[[], None],
) -> StoredVideo:
    """Copy an output into the store; it appears under `name` whole or not at all, and after its poster.

    `temporary_name` must be this claim's own. The suffix of `name` is replaced when the container is another one.
    `keep_going` is called between the stages and about once per `limits.heartbeat` while bytes come: it renews the
    caller's lease, or raises to stop. No temporary file outlives any exception. Storing the same output again under
    the same name replaces the file by an equal one. Raises what `rushes.artifacts.errors` lists.
    """
    check_name(name)
    check_name(temporary_name)
    scratch = store.scratch()
    video = scratch / f"{temporary_name}.part"
    poster = scratch / f"{temporary_name}.poster.part"
    try:
        arrived = download_file(source_url, video, limits=limits, keep_going=keep_going)
        keep_going()
        probe = probe_video(video)
        with storage_errors():
            poster.write_bytes(probe.poster)
        keep_going()
        poster_url = store.publish(poster, poster_name(name))
        url = store.publish(video, str(PurePosixPath(name).with_suffix(probe.facts.suffix)))
    finally:
        _remove(video, poster)
    return StoredVideo(
        url=url,
        bytes=arrived.bytes,
        sha256=arrived.sha256,
        facts=probe.facts,
        poster_url=poster_url,
        poster_bytes=len(probe.poster),
        poster_sha256=hashlib.sha256(probe.poster).hexdigest(),
    )


def _remove(*paths: Path) -> None:
    for path in paths:
        with storage_errors():
            path.unlink(missing_ok=True)
