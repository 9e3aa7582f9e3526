"""Describe the apparent type of a file that is not a video."""

import codecs
import re
from pathlib import Path

from PIL import Image

from rushes.artifacts.errors import NotAVideo, Suspect

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
_IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG2000", "ICO")


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
        with Image.open(path, formats=_IMAGES) as image:
            kind = "an animated image" if getattr(image, "is_animated", False) else "a still image"
            return f"{kind} ({(image.format or '').lower()})"
    except Exception:  # noqa: BLE001 - foreign bytes can make the library raise anything
        return None
