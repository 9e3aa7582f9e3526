"""The videos: real MP4 files, H.264 with one frame per second, and AAC sound; and the same in other containers."""

import io
import math
import random
import tempfile
import textwrap
from array import array
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image, ImageDraw

from sandbox.wavespeed.state.tasks import Task

X264_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "qp": "36"}
X264_DETAILED = {"preset": "veryfast", "tune": "zerolatency", "qp": "37"}
SAMPLE_RATE = 48_000
PERIOD = 200
"""Samples in one period of the tone: 240 Hz."""
MILLISECOND = Fraction(1, 1_000)
BACKGROUND, INK = (38, 38, 56), (232, 232, 232)
FONT_SIZE, MARGIN, LINE_LETTERS = 40, 80, 80
SPOT_PIXELS = 24
BOX_HEADER_BYTES = 8
WORDS_BYTES = 1_000

MEDIA_TYPES = {
    "mp4": "video/mp4",
    "mpegts": "video/mp2t",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "mpeg": "video/mpeg",
    "matroska": "video/x-matroska",
    "mov": "video/quicktime",
}

_WITH_START_CODES = frozenset({"mpegts", "avi", "mpeg"})
"""Containers that need H.264 as a stream (Annex B); an MP4 has lengths in place of start codes."""

_WITHOUT_AAC = frozenset({"mpeg"})

_EXACT = {"fflags": "+bitexact"}
"""Without the random ids that FFmpeg would write to each file."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The content to render. `seconds` is its length, to the millisecond; `words` tell it from every other video."""

    words: str
    seconds: float
    has_sound: bool
    width: int
    height: int

    @classmethod
    def of(cls, task: Task) -> "Clip":
        model = task.asked.model
        return cls(
            words=f"{task.asked.prompt}\n\n{task.id}   {model.id}   {task.seconds:g} s",
            seconds=task.seconds,
            has_sound=bool(task.asked.values.get("generate_audio", True)),
            width=model.width,
            height=model.height,
        )


def render(clip: Clip, *, shows_words: bool = False) -> bytes:
    """The MP4 of a clip, always with the same bytes; no two clips have the same.

    Without words, the picture is empty: all clips of one length and size share one encoded video, and the next one
    costs next to nothing.
    """
    return _encode(clip if shows_words else replace(clip, words="")) + make_free_box(clip.words)


def render_large(clip: Clip, *, size: int) -> tuple[bytes, bytes]:
    """The same with a detailed picture and padding, `size` bytes in all, in two parts that follow each other.

    All clips of one length and size share the first part. A file with very long words becomes longer.
    """
    words = make_free_box(clip.words.ljust(WORDS_BYTES))
    return _pad(replace(clip, words=""), size - len(words)), words


@lru_cache(maxsize=2)
def _pad(clip: Clip, size: int) -> bytes:
    mp4 = _encode(clip, is_detailed=True)
    return mp4 + make_free_box("\0" * max(0, size - len(mp4) - BOX_HEADER_BYTES))


def remux(mp4: bytes, container: str) -> bytes:
    """The same video in this container. It loses its sound if the container cannot hold AAC.

    The same MP4 always gives the same bytes.
    """
    result = io.BytesIO()
    with (
        av.open(io.BytesIO(mp4), "r") as source,
        av.open(result, "w", format=container, container_options=_EXACT) as file,
    ):
        video = source.streams.video[0]
        streams = [video] if container in _WITHOUT_AAC else [*source.streams]
        targets = {stream.index: file.add_stream_from_template(stream) for stream in streams}
        start_codes = BitStreamFilterContext("h264_mp4toannexb", video) if container in _WITH_START_CODES else None
        for packet in source.demux(streams):
            if packet.dts is None:  # the end of a stream
                continue
            target = targets[packet.stream.index]
            for each in start_codes.filter(packet) if start_codes and packet.stream is video else [packet]:
                each.stream = target
                file.mux(each)
    return result.getvalue()


def make_free_box(words: str) -> bytes:
    """A `free` box that makes the bytes of an MP4 unique without changing its content."""
    content = words.encode()
    return (len(content) + BOX_HEADER_BYTES).to_bytes(4, "big") + b"free" + content


def draw_words(words: str, *, width: int, height: int) -> Image.Image:
    """A picture of any text. What does not fit is cut off; letters that the font lacks appear as boxes."""
    picture = Image.new("RGB", (width, height), BACKGROUND)
    lines = "\n".join(textwrap.fill(line, LINE_LETTERS) for line in words.splitlines())
    ImageDraw.Draw(picture).text((MARGIN, MARGIN), lines, fill=INK, font_size=FONT_SIZE)
    return picture


@lru_cache
def make_tone(seconds: float) -> bytes:
    """An MP4 with nothing but a soft tone of this length."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        _write_tone(file, _add_sound(file), seconds)
    return buffer.getvalue()


def draw_spots(*, width: int, height: int) -> Image.Image:
    """A picture of soft spots of random colours, always the same one. Its key frame is as large as that of a film."""
    columns, rows = width // SPOT_PIXELS + 1, height // SPOT_PIXELS + 1
    colours = random.Random(1).randbytes(3 * columns * rows)  # noqa: S311 - not for secrets
    return Image.frombytes("RGB", (columns, rows), colours).resize((width, height), Image.Resampling.BICUBIC)


@lru_cache
def _encode(clip: Clip, *, is_detailed: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as folder:  # `faststart` needs a file on disk
        path = Path(folder) / "video.mp4"
        with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as file:
            video = file.add_stream("libx264", rate=1, options=X264_DETAILED if is_detailed else X264_OPTIONS)
            video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
            video.codec_context.thread_count = 1
            sound = _add_sound(file) if clip.has_sound else None
            draw = draw_spots if is_detailed else partial(draw_words, clip.words)
            _write_picture(file, video, draw(width=clip.width, height=clip.height), seconds=clip.seconds)
            if sound is not None:
                _write_tone(file, sound, clip.seconds)
        return path.read_bytes()


def _write_picture(file: OutputContainer, stream: VideoStream, picture: Image.Image, *, seconds: float) -> None:
    frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    frame.time_base = Fraction(1)
    packets = []
    for second in range(math.ceil(seconds)):
        frame.pts = second
        packets += stream.encode(frame)
    for second, packet in enumerate([*packets, *stream.encode()]):
        packet.time_base = MILLISECOND  # the last frame may be shorter than a second
        packet.pts = packet.dts = second * 1_000
        packet.duration = min(1_000, round(seconds * 1_000) - packet.pts)
        file.mux(packet)


def _add_sound(file: OutputContainer) -> AudioStream:
    stream = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
    stream.bit_rate = 32_000
    return stream


def _write_tone(file: OutputContainer, stream: AudioStream, seconds: float) -> None:
    count = round(seconds * SAMPLE_RATE)
    period = array("f", (0.05 * math.sin(math.tau * step / PERIOD) for step in range(PERIOD)))
    frame = av.AudioFrame("fltp", "mono", count)
    frame.sample_rate = SAMPLE_RATE
    frame.planes[0].update((period * (count // PERIOD + 1))[:count].tobytes())
    file.mux([*stream.encode(frame), *stream.encode()])
