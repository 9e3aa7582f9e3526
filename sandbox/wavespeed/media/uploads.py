"""Files that clients upload: tickets, and the folder that holds the bytes."""

import mimetypes
import secrets
from dataclasses import dataclass
from pathlib import Path

from sandbox.wavespeed.http.answers import Refusal

UPLOAD_LIMIT = 300 * 2**20
TYPES = ("image", "video", "audio")


def refuse_large(size: int) -> None:
    """Raises `Refusal` (413) above the limit."""
    if size > UPLOAD_LIMIT:
        raise Refusal(413, f"the file is too large: at most {UPLOAD_LIMIT // 2**20} MB")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client may send or has sent. The name of `path` is unguessable and part of its address."""

    path: Path
    filename: str
    size: int
    content_type: str

    @property
    def type(self) -> str:
        return self.content_type.partition("/")[0]

    @property
    def token(self) -> str:
        """The token that a client must send with the bytes."""
        return self.path.stem[::-1]

    def store(self, content: bytes) -> None:
        """Raises `Refusal` (400) if there are more or fewer bytes than announced."""
        if len(content) != self.size:
            raise Refusal(400, f"expected {self.size} bytes, got {len(content)}")
        self.path.write_bytes(content)


class MediaStore:
    """The uploads of this simulator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Upload] = {}

    def announce(self, filename: str, size: int, *, content_type: str | None) -> Upload:
        """Create an upload. Raises `Refusal`: 413 above the limit, 400 unless it is image, video or audio."""
        refuse_large(size)
        guessed = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        if guessed.partition("/")[0] not in TYPES:
            raise Refusal(400, f"unsupported file type {guessed}: only image, video and audio files")
        name = secrets.token_hex(16) + Path(filename).suffix[:8].lower()
        self._known[name] = Upload(self._folder / name, Path(filename).name, size, guessed)
        return self._known[name]

    def find(self, name: str) -> Upload | None:
        return self._known.get(name)
