"""Small real videos, made on the spot."""

from fractions import Fraction
from pathlib import Path

import av

_AUDIO_RATE = 48_000
_AUDIO_FRAME = 1_024
_VIDEO_CODECS = {".webm": "libvpx-vp9", ".mkv": "libx264", ".mp4": "libx264", ".mov": "libx264"}


def make_video(
    path: Path,
    *,
    width: int = 64,
    height: int = 48,
    seconds: int = 1,
    audio: bool = True,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a grey, slowly changing video, 8 frames a second; the suffix says the container, `options` are its own."""
    with av.open(str(path), "w", container_options=options or {}) as container:
        video = container.add_stream(_VIDEO_CODECS[path.suffix], rate=8)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=_AUDIO_RATE, layout="mono") if audio else None
        for number in range(8 * seconds):
            container.mux(video.encode(_picture(number, width=width, height=height)))
        container.mux(video.encode())
        if sound is not None:
            for number in range(seconds * _AUDIO_RATE // _AUDIO_FRAME):
                container.mux(sound.encode(_silence(number)))
            container.mux(sound.encode())
    return path


def _picture(number: int, *, width: int, height: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (40 + number, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, 8)
    return frame


def _silence(number: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=_AUDIO_FRAME)
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    frame.rate, frame.pts, frame.time_base = _AUDIO_RATE, number * _AUDIO_FRAME, Fraction(1, _AUDIO_RATE)
    return frame
