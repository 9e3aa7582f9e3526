"""The files that clients have uploaded, kept for as long as the provider promises."""

import os
import re
import tempfile
import uuid
from pathlib import Path

from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.tasks import TaskRequest

_PATH = re.compile(r"/media/([0-9a-f]{32})/")


class MediaStore:
    """One file per upload, dated by the provider's clock: next to the journal, so that it survives a restart."""

    def __init__(self, settings: SimulatorSettings) -> None:
        journal = settings.journal
        self._temporary = None if journal else tempfile.TemporaryDirectory(prefix="media-")
        self._folder = Path(self._temporary.name) if self._temporary else journal.parent / "media"  # type: ignore[union-attr]
        self._kept_seconds = settings.retention_seconds
        self.tickets: dict[str, tuple[int, str]] = {}
        """Size and content type of the files that are still to be sent, by their ids."""

    def add_ticket(self, size: int, content_type: str) -> str:
        file_id = uuid.uuid4().hex
        self.tickets[file_id] = (size, content_type)
        return file_id

    def save(self, file_id: str, content: bytes, *, now: float) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / file_id
        path.write_bytes(content)
        os.utime(path, (now, now))

    def find(self, file_id: str, *, now: float) -> bytes | None:
        """The bytes; None if there is no such file any more."""
        path = self._folder / file_id
        if not path.is_file() or path.stat().st_mtime < now - self._kept_seconds:
            return None
        return path.read_bytes()

    def lacks_input(self, submission: TaskRequest, *, now: float) -> bool:
        """Whether the input holds the address of an upload that is not, or no longer, stored here."""
        for value in submission.given.values():
            found = _PATH.search(value) if isinstance(value, str) and value.startswith(submission.base) else None
            if found and self.find(found[1], now=now) is None:
                return True
        return False
