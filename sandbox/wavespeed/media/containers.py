"""The same video in another container, without encoding it anew."""

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
"""Containers that want H.264 as a stream (Annex B), where an MP4 has lengths in the place of start codes."""

_WITHOUT_AAC = frozenset({"mpeg"})


def remux(path: Path, container: str) -> None:
    """Replace an MP4 by the same video in this container; it loses its sound where the container holds no AAC.

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
    """Without ids that FFmpeg would draw anew for each file."""
    return av.open(path, "w", format=container, container_options={"fflags": "+bitexact"})
