"""A folder of files that never grows beyond a size: the least recently used ones go first."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BoundedFolder:
    """Keeps account of the files put into it. To be used from one thread only.

    A file that is held is never removed, so the folder can be over its limit for as long as holders need it.
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
        """Where the file of this name is, or would be."""
        return self.path / name

    def add(self, name: str) -> None:
        """Take a whole file that is in its place into account, and make room for it."""
        self.discard(name)
        self._sizes[name] = self.place(name).stat().st_size
        self.total_bytes += self._sizes[name]
        self._evict(keep=name)

    def discard(self, name: str) -> None:
        """Forget a file without removing it, if it was there."""
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
