"""Move a video to another container without encoding it again."""

import io

import av
from av.bitstream import BitStreamFilterContext

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
