"""What a file is by its bytes: a video container that we read, by FFmpeg's names and whole or not, or another type."""

import codecs
import re
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from rushes.artifacts.errors import NotAVideo, Suspect

_SUFFIXES = {
    "apng": ".apng",
    "asf": ".wmv",
    "asf_o": ".wmv",
    "avi": ".avi",
    "dhav": ".dav",
    "dv": ".dv",
    "f4v": ".f4v",
    "film_cpk": ".cpk",
    "flic": ".fli",
    "flv": ".flv",
    "gif": ".gif",
    "live_flv": ".flv",
    "matroska": ".mkv",
    "mpeg": ".mpg",
    "mpegts": ".ts",
    "ogg": ".ogv",
    "smjpeg": ".mjpg",
    "vivo": ".viv",
    "yuv4mpegpipe": ".y4m",
}
# For these the suffix equals the name.
_OTHERS = """
    mov mp4 m4a 3gp 3g2 mj2 webm nut ivf mxf gxf rm ivr wtv nsv swf
    cine kux lvf lxf mlv mods moflex mtv mxg nuv pmp pva r3d ser ty usm xmv
    4xm anm bethsoftvid bfi bink c93 dfa dsicin dxa ea gdv hnm idcin ipmovie jv mm mv paf psxstr rl2 roq rpl siff smk
    smush thp tiertexseq tmv vividas vmd wc3movie wsvqa yop
"""
_AUDIO = "aac ac3 aiff amr flac mp3 w64 wav"  # only to report them as audio
# FFmpeg reads more. Left out are formats that refer to other files or URLs (hls, dash, concat, imf, sdp, rtsp, sap,
# webm_dash_manifest), devices, still images (the pipes, image2, ico, fits, iff), text drawn as pictures (tty, bin, adf,
# idf, xbin), and streams without a header of their own, because noise or a JPEG can be mistaken for them (h264, hevc,
# mpegvideo, m4v, mjpeg, mpjpeg, obu, rawvideo and the like, and formats that only their suffix identifies).
CONTAINERS = ",".join([*_SUFFIXES, *_OTHERS.split(), *_AUDIO.split()])

# The oldest QuickTime files have no brand.
_MOV_BRANDS = {"": "mov", "qt ": "mov", "3g2": "3g2", "3gp": "3gp", "avi": "avif", "f4v": "f4v", "mjp": "mj2"}

_BOX_TYPES = frozenset({b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_STILL_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"mif2", b"msf1"})
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"

_START_BYTES = 512
_DOCUMENT_TYPES = {
    "text/html": "a web page",
    "application/xhtml+xml": "a web page",
    "text/xml": "an XML document",
    "application/xml": "an XML document",
    "application/json": "a JSON document",
}
_DOCUMENT_STARTS = (
    (re.compile(r"<(!doctype html|html)", re.IGNORECASE), "a web page"),
    (re.compile(r"<(\?xml|!doctype|!--|[a-z])", re.IGNORECASE), "an XML document"),
    (re.compile(r"[{\[]"), "a JSON document"),
)
IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "ICO")


def short_name(format_name: str, *, brand: str, start: bytes) -> str:
    """Return one name for the container; FFmpeg gives only the family. `start` is the beginning of the file."""
    if format_name.startswith("mov"):
        return _MOV_BRANDS.get(brand[:3], "mp4")
    if format_name.startswith("matroska"):
        return "webm" if b"webm" in start else "matroska"
    return format_name


def suffix_of(container: str) -> str:
    return _SUFFIXES.get(container, f".{container}")


def check_whole(path: Path) -> None:
    """Raise `NotAVideo` if an MP4, MOV, AVI, Matroska or WebM file is cut short, or is a still image in MP4 boxes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        least = 0
        # A very long first box is a video only if it is moov or mdat; otherwise the file is text that holds the word.
        if start[4:8] in _BOX_TYPES and (start[0] == 0 or start[4:8] in {b"moov", b"mdat"}):
            least = _least_of_boxes(file, size=size, brand=start[8:12])
        elif start[:4] == b"RIFF" and start[8:12] == b"AVI ":
            least = _least_of_riff(start)
        elif start[:4] == _EBML:
            least = _least_of_segment(file)
    if size < least:
        raise NotAVideo(f"the output ends early: {size} bytes of at least {least}", suspect=Suspect.CUT)


def _least_of_boxes(file: BinaryIO, *, size: int, brand: bytes) -> int:
    """Return the least length of the file by its boxes (ISO/IEC 14496-12, section 4.2)."""
    found = set()
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4])
        if length == 1:
            length = int.from_bytes(header[8:])
        if len(header) < 8 or (length == 0 and header[4:8] in _BOX_TYPES):  # extends to the end of the file
            length = size - position
        elif length < 8:  # padding after the last box
            return size
        found.add(header[4:8])
        position += length
    if position == size and b"moov" not in found and brand in _STILL_BRANDS:
        raise NotAVideo("the output is a still image (heic or avif)")
    # A file that lacks either of them cannot be played, so another box must follow.
    return position if {b"moov", b"mdat"} <= found else max(position, size + 8)


def _least_of_riff(start: bytes) -> int:
    length = int.from_bytes(start[4:8], "little")
    return 0 if length == 2**32 - 1 else 8 + length  # written as a stream: length unknown


def _least_of_segment(file: BinaryIO) -> int:
    """Return the least length of the file by the length of its segment (RFC 8794, section 6)."""
    file.seek(len(_EBML))
    header = _read_length(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length = _read_length(file)
    return 0 if length is None else file.tell() + length


def _read_length(file: BinaryIO) -> int | None:
    """Read an EBML length; None if it is unknown or missing."""
    first = file.read(1)
    if first in {b"", b"\0"}:
        return None
    rest = 8 - first[0].bit_length()
    unknown = (1 << 7 * (rest + 1)) - 1
    length = int.from_bytes(first + file.read(rest)) & unknown
    return None if length == unknown else length


def explain(path: Path, *, content_type: str, error: NotAVideo) -> NotAVideo:
    """Return the error for a file that cannot be played, with a clearer message if the file has another type."""
    document = _find_document(path, content_type)
    if document is not None:
        named = f" ({content_type})" if content_type else ""
        return NotAVideo(f"the output is {document}{named}, not a video", suspect=Suspect.DOCUMENT)
    image = _find_image(path)
    return error if image is None else NotAVideo(f"the output is {image}, not a video")


def _find_document(path: Path, content_type: str) -> str | None:
    """Decide by the type that the host gave, or else by the first bytes."""
    if content_type in _DOCUMENT_TYPES:
        return _DOCUMENT_TYPES[content_type]
    if content_type.endswith(("+xml", "+json")):
        return "an XML document" if content_type.endswith("+xml") else "a JSON document"
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    try:
        # Incremental: the last character may be cut.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start).lstrip()
    except UnicodeDecodeError:
        return None
    return next((words for pattern, words in _DOCUMENT_STARTS if pattern.match(text)), None)


def _find_image(path: Path) -> str | None:
    try:
        with Image.open(path, formats=IMAGES) as image:
            kind = "an animated image" if getattr(image, "is_animated", False) else "a still image"
            return f"{kind} ({(image.format or '').lower()})"
    except Exception:  # noqa: BLE001 - foreign bytes can make the library raise anything
        return None
