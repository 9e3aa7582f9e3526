"""Small real images and videos, made on the spot."""

import io
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition
from PIL import Image

_AUDIO_RATE = 48_000
_AUDIO_FRAME = 1_024
_OTHER_CODECS = {"ogg": "libvpx", "rm": "rv20", "yuv4mpegpipe": "rawvideo"}  # where FFmpeg's choice cannot be had
_SIZES = {
    "dv": (720, 576),
    "gxf": (720, 576),
    "film_cpk": (64, 48),
    "roq": (64, 48),
}  # or else H.263's smallest but one
_VIDEO_CODECS = {".webm": "libvpx-vp9", ".mkv": "libx264", ".mp4": "libx264", ".mov": "libx264", ".mpg": "libx264"}


def picture(colour: str = "red", kind: str = "PNG") -> bytes:
    """A small image."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, kind)
    return file.getvalue()


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
                container.mux(sound.encode(_crash(number)))
            container.mux(sound.encode())
    return path


def make_container(path: Path, muxer: str) -> Path:
    """Write one second of video in the container that FFmpeg calls `muxer`, with a codec that goes into it."""
    rate = 30 if muxer == "roq" else 25
    width, height = _SIZES.get(muxer, (176, 144))
    with av.open(str(path), "w", format=muxer) as container:
        codec = _OTHER_CODECS.get(muxer, container.default_video_codec)
        video = container.add_stream(codec, rate=rate)
        formats = [each.name for each in video.codec_context.codec.video_formats or []]
        video.width, video.height = width, height
        video.pix_fmt = "yuv420p" if not formats or "yuv420p" in formats else formats[0]
        video.options = {"strict": "unofficial"}  # for MJPEG, which would like another range of colours
        for number in range(rate):
            frame = _picture(number, width=width, height=height).reformat(format=video.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def make_audio(path: Path, muxer: str, codec: str, *, cover: bytes = b"") -> Path:
    """Write a second of silence, with a picture of its cover (a JPEG) where there is one."""
    with av.open(str(path), "w", format=muxer) as container:
        sound = container.add_stream(codec, rate=_AUDIO_RATE, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = Disposition.attached_pic
        frames = [_crash(number) for number in range(_AUDIO_RATE // _AUDIO_FRAME)]
        packets = [packet for frame in [*frames, None] for packet in sound.encode(frame)]
        if cover:
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 1)
            container.mux(packet)
        container.mux(packets)
    return path


def _picture(number: int, *, width: int, height: int) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(frame.planes, (40 + number, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, 8)
    return frame


def _crash(number: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp", layout="mono", samples=_AUDIO_FRAME)
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    frame.rate, frame.pts, frame.time_base = _AUDIO_RATE, number * _AUDIO_FRAME, Fraction(1, _AUDIO_RATE)
    return frame
