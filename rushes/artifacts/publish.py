"""Copy a finished render: download, check, make the poster frame, and only then make it visible."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rushes.artifacts.download import CHUNK_BYTES, Arrived, write_file
from rushes.artifacts.errors import NotAVideo, Suspect
from rushes.artifacts.naming import check_name, poster_name, unverified_name
from rushes.artifacts.probe import Probe, VideoFacts, probe_video
from rushes.artifacts.store import ArtifactStore, storage_errors

Fetch = Callable[[Path], Arrived]  # writes a new file at the path; raises what `download_file` raises


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """A video that is visible and durable, with its poster frame. Sizes in bytes, SHA-256 in lower-case hex."""

    url: str
    bytes: int
    sha256: str
    facts: VideoFacts
    poster_url: str
    poster_bytes: int
    poster_sha256: str


@dataclass(frozen=True, slots=True)
class KeptFile:
    """The file of an earlier attempt that failed the probe."""

    url: str
    bytes: int
    sha256: str
    suspect: Suspect


@dataclass(frozen=True, slots=True)
class UnverifiedFile:
    """A file that arrived instead of a video, with the probe's message and suspect.

    `url` is where the bytes are kept. It is None if an earlier attempt's file stays: the same bytes, or better ones.
    """

    url: str | None
    arrived: Arrived
    message: str
    suspect: Suspect


def store_video(
    fetch: Fetch,
    *,
    store: ArtifactStore,
    name: str,
    temporary_name: str,
    keep_going: Callable[[], None],
    kept: KeptFile | None = None,
) -> StoredVideo | UnverifiedFile:
    """Copy an output into the store. It appears under `name` whole or not at all, and after its poster.

    If it cannot be played, its bytes appear under `unverified_name(name)` instead, unless `kept` is the same or better.

    `temporary_name` must be unique to this claim. The suffix of `name` is replaced if the container is a different one.
    `keep_going` is called between the stages; it may renew the caller's lease, or raise to stop. After any exception
    the temporary files are removed. Storing the same output again under the same name replaces the file with an equal
    one. Raises any exception that `fetch` and the store raise.
    """
    check_name(name)
    check_name(temporary_name)
    video = store.scratch() / f"{temporary_name}.part"
    poster = video.with_name(f"{temporary_name}.poster.part")
    try:
        arrived = fetch(video)
        keep_going()
        try:
            probe = probe_video(video, content_type=arrived.content_type)
        except NotAVideo as error:
            keep_going()
            new = KeptFile("", arrived.bytes, arrived.sha256, error.suspect)
            url = _keep(store, video, new, name=name, kept=kept)
            return UnverifiedFile(url=url, arrived=arrived, message=str(error), suspect=error.suspect)
        with storage_errors():
            poster.write_bytes(probe.poster)
        keep_going()
        return _publish(video, poster, store=store, name=name, arrived=arrived, probe=probe)
    finally:
        for path in (video, poster):
            with storage_errors():
                path.unlink(missing_ok=True)


def copy_kept(store: ArtifactStore, url: str, target: Path, *, keep_going: Callable[[], None]) -> Arrived:
    """Copy a published file into the new file `target`, like `download_file`. Raises `NotFound` if it is gone."""
    with store.open(url) as file:
        size, sha256 = write_file(iter(lambda: file.read(CHUNK_BYTES), b""), target, keep_going=keep_going)
    return Arrived(bytes=size, sha256=sha256, content_type="", source=url)


def _publish(
    video: Path, poster: Path, *, store: ArtifactStore, name: str, arrived: Arrived, probe: Probe
) -> StoredVideo:
    named = str(PurePosixPath(name).with_suffix(probe.facts.suffix))
    poster_url, url = store.publish((poster, poster_name(name)), (video, named))
    return StoredVideo(
        url=url,
        bytes=arrived.bytes,
        sha256=arrived.sha256,
        facts=probe.facts,
        poster_url=poster_url,
        poster_bytes=len(probe.poster),
        poster_sha256=hashlib.sha256(probe.poster).hexdigest(),
    )


def _keep(store: ArtifactStore, video: Path, new: KeptFile, *, name: str, kept: KeptFile | None) -> str | None:
    if kept is not None and store.find_path(kept.url) and (new.sha256 == kept.sha256 or _rank(new) < _rank(kept)):
        return None
    (url,) = store.publish((video, unverified_name(name, sha256=new.sha256)))
    return url


def _rank(file: KeptFile) -> tuple[int, int]:
    """Rank a file to decide which one to keep: a whole file over a cut video, a cut video over a page, then by size."""
    return ((Suspect.DOCUMENT, Suspect.CUT, Suspect.FILE).index(file.suspect), file.bytes)
