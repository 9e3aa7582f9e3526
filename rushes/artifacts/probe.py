"""Probe a downloaded file: whether it is a video, of what kind, and its first frame.

The file comes from outside. We read only the containers below, detected by their bytes and not by their name. We open
nothing that a file refers to: otherwise a playlist could make the decoder fetch other files and URLs.
"""

import errno
import io
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NoReturn

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from PIL import Image

from rushes.artifacts.errors import NotAVideo
from rushes.artifacts.formats import CONTAINERS, check_whole, explain, short_name, suffix_of
from rushes.errors import Unavailable

_LARGEST_PIXELS = 8192 * 8192  # twice 8K; a forged size must not make the decoder allocate gigabytes
_FIRST_FRAME_PACKETS = 64
_POSTER_WIDTH = 640
_POSTER_QUALITY = 85
_SECONDS_TOLERANCE = Decimal("0.5")
_TURN_SECONDS = 2.0
_cores = threading.BoundedSemaphore(os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class ExpectedVideo:
    """The video that a job asked for."""

    seconds: Decimal
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """The properties of a file. `container` is a short name (mp4, webm, mpegts, ...); `seconds` has three decimals."""

    container: str
    seconds: Decimal
    width: int
    height: int
    has_audio: bool

    @property
    def suffix(self) -> str:
        return suffix_of(self.container)

    def differences(self, expected: ExpectedVideo) -> tuple[str, ...]:
        """Describe how the video differs from the request. Only a warning, because the video is paid for anyway."""
        found = []
        if abs(self.seconds - expected.seconds) > _SECONDS_TOLERANCE:
            found.append(f"lasts {self.seconds.normalize():f} s, not {expected.seconds.normalize():f} s")
        if (self.width, self.height) != (expected.width, expected.height):
            found.append(f"is {self.width}x{self.height}, not {expected.width}x{expected.height}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a probe. `poster` is the first frame as JPEG, at most 640 pixels wide."""

    facts: VideoFacts
    poster: bytes


def probe_video(path: Path, *, content_type: str = "") -> Probe:
    """Check that a file is a playable video and describe it. Decodes only the first frame.

    `content_type` is the media type that came with the file. Raises `NotAVideo` with the suspect. Damage after the
    first frame is not detected, except that an MP4, MOV, AVI, Matroska or WebM file must not end early.
    """
    try:
        check_whole(path)
        try:
            with _turn():
                return _probe(path)
        except NotAVideo as error:
            raise explain(path, content_type=content_type, error=error) from error
    except OSError as error:
        raise Unavailable(f"the artifact storage cannot be read: {error.strerror}") from error
    except (NotAVideo, Unavailable):
        raise
    except Exception as error:  # foreign bytes can make the libraries raise anything, and the file must still be kept
        raise NotAVideo(f"the output is not a playable video: {type(error).__name__}") from error


@contextmanager
def _turn() -> Iterator[None]:
    """Wait until a core is free: a frame needs megabytes, and more of them at once are only slower.

    Wait for seconds at most, because a long file may take long, and the caller holds a lease.
    """
    has_core = _cores.acquire(timeout=_TURN_SECONDS)
    try:
        yield
    finally:
        if has_core:
            _cores.release()


def _probe(path: Path) -> Probe:
    with path.open("rb") as file, _decoder_errors(), open_container(file) as container:
        stream = _get_video_stream(container)
        kind = _kind_of(container, path)
        frame = _decode_first_frame(container, stream)
        facts = VideoFacts(
            container=kind,
            seconds=_length_of(container, stream, first=frame),
            width=frame.width,
            height=frame.height,
            has_audio=bool(container.streams.audio),
        )
        return Probe(facts=facts, poster=_draw_poster(frame))


@contextmanager
def _decoder_errors() -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NotAVideo(f"the output is not a playable video: {reason}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: the demuxer sought before the beginning
            raise
        raise NotAVideo("the output is not a playable video: its data is inconsistent") from error


def open_container(file: BinaryIO) -> InputContainer:
    """Open a file if its container is on the list. Raises `NotAVideo`, or any error of the library."""
    try:
        return av.open(
            file,
            mode="r",
            # The stream analysis need not decode: we get the same facts from the first frame.
            options={"skip_frame": "all"},
            container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": "none", "probesize": "200000"},
            io_open=_refuse_to_open,
            metadata_errors="replace",
        )
    except av.ArgumentError as error:  # FFmpeg raises this for a format that is not on the list
        raise NotAVideo("the output is not a playable video: its format is not a known video format") from error


def _refuse_to_open(*_: object) -> NoReturn:
    raise NotAVideo("the output is not a video but refers to other files")


def _kind_of(container: InputContainer, path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    return short_name(container.format.name, brand=container.metadata.get("major_brand", ""), start=start)


def _get_video_stream(container: InputContainer) -> VideoStream:
    """Return the first stream of moving pictures. A song's cover does not count, nor does a GIF of one picture."""
    readable = (stream for stream in container.streams.video if stream.codec_context is not None)
    stream = next((each for each in readable if Disposition.attached_pic not in each.disposition), None)
    if stream is None:
        what = "is audio without a picture" if container.streams.audio else "holds no moving picture"
        raise NotAVideo(f"the output {what}")
    if container.format.name == "gif" and stream.frames == 1:
        raise NotAVideo("the output is a still image (gif)")
    context = stream.codec_context
    context.thread_type = "NONE"
    context.thread_count = 1
    # The loop filter costs a quarter of the decoding. The one frame that is decoded becomes a small poster.
    context.options = {"max_pixels": str(_LARGEST_PIXELS), "skip_loop_filter": "all"}
    return stream


def _decode_first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame:
    for packet in itertools.islice(container.demux(stream), _FIRST_FRAME_PACKETS):
        with suppress(av.InvalidDataError):  # a recording may begin between two complete pictures
            # With a flush, the decoder returns the frame at once. Otherwise it waits for frames to be shown before it.
            frames = stream.decode(packet) or stream.decode(None)
            if frames:
                return frames[0]
        stream.codec_context.flush_buffers()
    raise NotAVideo("the output is not a playable video: no frame could be decoded")


def _length_of(container: InputContainer, stream: VideoStream, *, first: VideoFrame) -> Decimal:
    # A program stream has no length, and FFmpeg's guess is poor if time stamps are rare.
    known = None if container.format.name == "mpeg" else container.duration
    seconds = Fraction(known, av.time_base) if known else _measure(container, stream, first=first)
    if seconds <= 0:
        raise NotAVideo("the output is not a playable video: it has no length")
    return Decimal(round(seconds * 1000)) / 1000


def _measure(container: InputContainer, stream: VideoStream, *, first: VideoFrame) -> Fraction:
    """Measure a container without a length in its header (written as a stream): read the rest without decoding."""
    shown: Iterator[VideoFrame | Packet[VideoStream]] = itertools.chain([first], container.demux(stream))
    start = latest = end = first.pts or 0
    for each in shown:
        latest = (latest if each.pts is None else each.pts) + (each.duration or 0)
        end = max(end, latest)
    return (end - start) * (stream.time_base or Fraction(0))


def _draw_poster(frame: VideoFrame) -> bytes:
    width = min(frame.width, _POSTER_WIDTH)
    height = max(1, round(frame.height * width / frame.width))
    # In two steps: only the pixels of the small picture are converted to RGB, which takes a third of the time.
    small = frame.reformat(width=width, height=height, interpolation=Interpolation.AREA, threads=1)
    plane = small.reformat(format="rgb24", interpolation=Interpolation.POINT, threads=1).planes[0]
    image = Image.frombytes("RGB", (width, height), bytes(plane), "raw", "RGB", plane.line_size)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=_POSTER_QUALITY)
    return jpeg.getvalue()
