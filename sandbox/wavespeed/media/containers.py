"""Move a video to another container without encoding it again."""

from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer

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


def remux(path: Path, container: str) -> None:
    """Replace an MP4 with the same video in this container. It loses its sound if the container cannot hold AAC.

    The same MP4 always gives the same bytes.
    """
    result = path.with_name(f"{path.name}.{container}")
    with av.open(path) as source, _create(result, container) as file:
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
    result.rename(path)


def _create(path: Path, container: str) -> OutputContainer:
    """Open the output without the random ids that FFmpeg would write to each file."""
    return av.open(path, "w", format=container, container_options={"fflags": "+bitexact"})
