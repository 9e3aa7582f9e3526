"""The videos: real MP4 files, H.264 with AAC sound, at a cost of about ten milliseconds each.

They are cheap because they have one frame per second and only the first frame is encoded: the other frames of a still
picture are the same few bytes for every picture ("as before") and are made once. The sound is one tone, encoded once.
"""

import asyncio
import io
import math
import tempfile
from array import array
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from sandbox.wavespeed.media.containers import remux
from sandbox.wavespeed.media.folders import BoundedFolder
from sandbox.wavespeed.media.stills import BACKGROUND, Still, draw_still
from sandbox.wavespeed.state.tasks import Task

X264_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "qp": "36"}
SAMPLE_RATE = 48_000
TONE_STEP = 20
"""Seconds: one encoded tone serves all videos up to this length."""
PERIOD = 200
"""Samples in one period of the tone: 240 Hz."""
MILLISECOND = Fraction(1, 1_000)


@dataclass(frozen=True, slots=True)
class Clip:
    """The content to render. `seconds` is its length, to the millisecond."""

    text: str
    caption: str
    seconds: float
    has_sound: bool
    width: int
    height: int

    @classmethod
    def of(cls, task: Task) -> "Clip":
        model = task.asked.model
        return cls(
            text=task.asked.prompt,
            caption=f"{task.id}   {model.id}   {task.seconds:g} s",
            seconds=task.seconds,
            has_sound=bool(task.asked.values.get("generate_audio", True)),
            width=model.width,
            height=model.height,
        )


def render(clip: Clip, path: Path) -> None:
    """Write the video. The same clip always gives the same bytes."""
    still = draw_still(clip.text, clip.caption, width=clip.width, height=clip.height)
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as file:
        video = _add_video(file, clip)
        if clip.has_sound:
            tone = make_tone(TONE_STEP * math.ceil(clip.seconds / TONE_STEP))
            with av.open(io.BytesIO(tone), "r") as source:
                sound = file.add_stream_from_template(source.streams.audio[0])
                _write_picture(file, video, clip=clip, still=still)
                _copy_sound(source, file, sound=sound, seconds=clip.seconds)
        else:
            _write_picture(file, video, clip=clip, still=still)


def render_plain(clip: Clip, path: Path) -> None:
    """Write a video with the clip's length, size and sound that shows nothing; it costs a tenth of a millisecond.

    A `free` box at the end holds the clip's text, so that no two videos have the same bytes.
    """
    words = f"{clip.caption}   {clip.text}"
    path.write_bytes(_render_once(replace(clip, text="", caption="")) + make_free_box(words))


def make_free_box(words: str) -> bytes:
    """A `free` box that makes the bytes of an MP4 unique without changing its content."""
    content = words.encode()
    return (len(content) + 8).to_bytes(4, "big") + b"free" + content


@lru_cache
def _render_once(clip: Clip) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.mp4"
        render(clip, path)
        return path.read_bytes()


class VideoShelf:
    """Videos of finished tasks, rendered at their first download and kept on disk while there is room."""

    def __init__(
        self, folder: BoundedFolder, executor: Executor, *, draw: Callable[[Clip, Path], None] = render
    ) -> None:
        self.folder = folder
        self._executor = executor
        self._draw = draw
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self.rendered = 0

    async def fetch(self, task: Task, *, container: str = "mp4") -> str:
        """The file name of this task's video. It is rendered if needed, never twice at the same time."""
        name = f"{task.id}.{container}"
        while name not in self.folder:
            if name not in self._under_way:
                self._under_way[name] = asyncio.ensure_future(self._render(name, Clip.of(task), container))
            await asyncio.shield(self._under_way[name])
        return name

    async def _render(self, name: str, clip: Clip, container: str) -> None:
        unfinished = self.folder.place(f"{name}.part")
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._make, clip, unfinished, container)
            unfinished.rename(self.folder.place(name))
            self.folder.add(name)
            self.rendered += 1
        finally:
            del self._under_way[name]

    def _make(self, clip: Clip, path: Path, container: str) -> None:
        self._draw(clip, path)
        if container != "mp4":
            remux(path, container)


def _add_video(file: OutputContainer, clip: Clip) -> VideoStream:
    stream = file.add_stream("libx264", rate=1, options=X264_OPTIONS)
    stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
    stream.codec_context.thread_count = 1
    return stream


def _write_picture(file: OutputContainer, stream: VideoStream, *, clip: Clip, still: Still) -> None:
    count = math.ceil(clip.seconds)
    first = [
        bytes(packet)
        for packet in [*stream.encode(_frame(still, width=clip.width, height=clip.height)), *stream.encode()]
    ]
    for number, payload in enumerate(first + _repeats(count - 1, width=clip.width, height=clip.height)):
        packet = av.Packet(payload)
        packet.stream = stream
        packet.time_base = MILLISECOND
        packet.pts = packet.dts = number * 1_000
        packet.duration = min(1_000, round(clip.seconds * 1_000) - packet.pts)
        packet.is_keyframe = number == 0
        file.mux(packet)


def _copy_sound(source: InputContainer, file: OutputContainer, *, sound: AudioStream, seconds: float) -> None:
    for packet in source.demux(audio=0):
        if packet.pts is None or packet.pts * packet.time_base >= seconds:
            return
        packet.stream = sound
        file.mux(packet)


def _frame(still: Still, *, width: int, height: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    luma, blue, red = frame.planes
    rows = (still.luma[start : start + width] for start in range(0, width * height, width))
    luma.update(still.luma if luma.line_size == width else b"".join(row.ljust(luma.line_size) for row in rows))
    blue.update(bytes([still.blue]) * blue.buffer_size)
    red.update(bytes([still.red]) * red.buffer_size)
    frame.pts = 0
    frame.time_base = Fraction(1)
    return frame


@lru_cache
def _repeats(count: int, *, width: int, height: int) -> list[bytes]:
    """The encoded frames after the first, for any still picture of this size: every block in them means "as before"."""
    if count < 1:
        return []
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1), Fraction(1)
    context.options, context.thread_count = X264_OPTIONS, 1
    flat = Still(bytes([BACKGROUND]) * (width * height), blue=128, red=128)
    frame = _frame(flat, width=width, height=height)
    packets = []
    for number in range(count + 1):
        frame.pts = number
        packets += context.encode(frame)
    return [bytes(packet) for packet in [*packets, *context.encode()]][1:]


@lru_cache
def make_tone(seconds: int) -> bytes:
    """An MP4 with nothing but a soft tone of this length."""
    period = array("f", (0.05 * math.sin(math.tau * step / PERIOD) for step in range(PERIOD)))
    samples = period * (seconds * SAMPLE_RATE // PERIOD)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        stream.bit_rate = 32_000
        frame = av.AudioFrame("fltp", "mono", len(samples))
        frame.sample_rate = SAMPLE_RATE
        frame.planes[0].update(samples.tobytes())
        for part in [*stream.encode(frame), *stream.encode()]:
            file.mux(part)
    return buffer.getvalue()
