"""The picture of a simulated video: the prompt, legible at any length, and a caption that identifies the render."""

import hashlib
import textwrap
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

FONT_SIZES = (52, 40, 32, 26, 22, 18, 16)
MARGIN = 80
CAPTION_SIZE = 30
BACKGROUND, INK, FAINT_INK = 38, 232, 150
LINE_HEIGHT, LETTER_WIDTH = 1.3, 0.54
"""In font sizes; the width is the average of the bundled font."""


@dataclass(frozen=True, slots=True)
class Still:
    """A picture as the planes of YUV 4:2:0. Only the brightness varies; the whole picture has one colour."""

    luma: bytes
    blue: int
    red: int


def draw_still(text: str, caption: str, *, width: int, height: int) -> Still:
    """Draw any text, of any length and in any script. The same arguments always give the same bytes.

    Letters that the bundled font lacks appear as boxes. A text that fits at no size ends in an ellipsis.
    """
    image = Image.new("L", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, height - MARGIN - CAPTION_SIZE), caption, font=_font(CAPTION_SIZE), fill=FAINT_INK)
    size, lines = _lay_out(_printable(text), width=width - 2 * MARGIN, height=height - 3 * MARGIN - CAPTION_SIZE)
    for number, line in enumerate(lines):
        pen.text((MARGIN, MARGIN + number * size * LINE_HEIGHT), line, font=_font(size), fill=INK)
    tint = hashlib.sha256(caption.encode()).digest()
    return Still(image.tobytes(), blue=100 + tint[0] % 56, red=100 + tint[1] % 56)


def _lay_out(text: str, *, width: int, height: int) -> tuple[int, list[str]]:
    for size in FONT_SIZES:
        lines, room = _wrap(text, size=size, width=width), _room(size, height)
        if len(lines) <= room:
            return size, lines
    lines = lines[:room]
    return size, [*lines[:-1], lines[-1][:-1] + "…"]


def _wrap(text: str, *, size: int, width: int) -> list[str]:
    return textwrap.wrap(text, max(1, int(width / (size * LETTER_WIDTH))))


def _room(size: int, height: int) -> int:
    return max(1, int(height / (size * LINE_HEIGHT)))


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
