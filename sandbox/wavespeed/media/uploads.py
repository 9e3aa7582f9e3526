"""Files that clients upload: tickets, and the folder that holds the bytes."""

import mimetypes
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.wavespeed.http.answers import Refusal
from sandbox.wavespeed.media.folders import BoundedFolder

UPLOAD_LIMIT = 300 * 2**20
KEPT_BYTES = 2 * 2**30
TYPES = ("image", "video", "audio")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a client may send or has sent. `name` is unguessable and part of its address."""

    name: str
    filename: str
    size: int
    content_type: str

    @property
    def type(self) -> str:
        return self.content_type.partition("/")[0]

    @property
    def token(self) -> str:
        """The token that a client must send with the bytes."""
        return self.name.partition(".")[0][::-1]


class MediaStore:
    """Uploaded files. Once they exceed a total size, the oldest are removed first."""

    def __init__(self, path: Path) -> None:
        self.folder = BoundedFolder(path, KEPT_BYTES)
        self._known: dict[str, Upload] = {}

    def announce(self, filename: str, size: int, *, content_type: str | None) -> Upload:
        """Create an upload. Raises `Refusal`: 413 above the limit, 400 unless it is image, video or audio."""
        if size > UPLOAD_LIMIT:
            raise Refusal(413, f"the file is too large: at most {UPLOAD_LIMIT // 2**20} MB")
        guessed = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        if guessed.partition("/")[0] not in TYPES:
            raise Refusal(400, f"unsupported file type {guessed}: only image, video and audio files")
        name = secrets.token_hex(16) + Path(filename).suffix[:8].lower()
        self._known[name] = Upload(name, Path(filename).name, size, guessed)
        return self._known[name]

    def find(self, name: str) -> Upload | None:
        return self._known.get(name)

    async def receive(self, upload: Upload, chunks: AsyncIterator[bytes]) -> None:
        """Store the bytes. If there are more or fewer than announced, keep nothing and raise `Refusal` (400)."""
        place = self.folder.place(upload.name)
        received = 0
        with place.open("wb") as file:
            async for chunk in chunks:
                received += len(chunk)
                if received > upload.size:
                    break
                file.write(chunk)
        if received != upload.size:
            place.unlink()
            raise Refusal(400, f"expected {upload.size} bytes, got {'more' if received > upload.size else received}")
        self.folder.add(upload.name)
