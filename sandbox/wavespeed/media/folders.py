"""A folder with a size limit: the least recently used files are removed first."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BoundedFolder:
    """Tracks the files put into it. Use it from one thread only.

    A held file is never removed, so the folder can exceed its limit while files are held.
    """

    def __init__(self, path: Path, limit_bytes: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._limit = limit_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._held: Counter[str] = Counter()
        self.total_bytes = 0

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def place(self, name: str) -> Path:
        """The path of the file with this name, whether it exists or not."""
        return self.path / name

    def add(self, name: str) -> None:
        """Track a complete file that is at its path, and make room for it."""
        self.discard(name)
        self._sizes[name] = self.place(name).stat().st_size
        self.total_bytes += self._sizes[name]
        self._evict(keep=name)

    def discard(self, name: str) -> None:
        """Stop tracking a file, if it was tracked, without removing it."""
        self.total_bytes -= self._sizes.pop(name, 0)

    @contextmanager
    def hold(self, name: str) -> Iterator[Path]:
        """Keep a file from being removed while it is read."""
        self._held[name] += 1
        self._sizes.move_to_end(name)
        try:
            yield self.place(name)
        finally:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]

    def _evict(self, keep: str) -> None:
        for name in list(self._sizes):
            if self.total_bytes <= self._limit:
                return
            if name != keep and name not in self._held:
                self.discard(name)
                self.place(name).unlink(missing_ok=True)
