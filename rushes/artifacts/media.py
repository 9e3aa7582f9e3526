"""Detect the media type of a caller's file from its bytes."""

import io
import mimetypes

from PIL import Image

from rushes.artifacts.formats import IMAGES, short_name, suffix_of
from rushes.artifacts.probe import open_container


def find_media_type(content: bytes) -> str | None:
    """Return the type of an image or of a video, such as `image/png`; None for anything else. Decodes no picture."""
    try:
        with Image.open(io.BytesIO(content), formats=IMAGES) as image:
            image.verify()
            return Image.MIME.get(image.format or "")
    except Exception:  # noqa: BLE001, S110 - foreign bytes can make the library raise anything
        pass
    try:
        with open_container(io.BytesIO(content)) as container:
            if not container.streams.video:
                return None
            brand = container.metadata.get("major_brand", "")
            kind = short_name(container.format.name, brand=brand, start=content[:64])
    except Exception:  # noqa: BLE001 - likewise
        return None
    return mimetypes.guess_type(f"file{suffix_of(kind)}")[0] or "video/mp4"
