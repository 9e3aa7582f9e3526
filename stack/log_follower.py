"""`--verbose`: show the processes' logs live, each line with the name of its process."""

import threading
from collections.abc import Callable
from pathlib import Path

PAUSE_SECONDS = 0.2


class LogFollower(threading.Thread):
    """Follows every `*.log` in a folder from its current end, in its own thread."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        super().__init__(name="log-follower", daemon=True)
        self._folder = folder
        self._say = say
        self._places = {path: path.stat().st_size for path in folder.glob("*.log")}
        self._rests: dict[Path, bytes] = {}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Show the remaining lines, then stop."""
        self._stopping.set()
        if self.ident is not None:  # it was started
            self.join()

    def run(self) -> None:
        """Forward new lines until `stop`."""
        while not self._stopping.wait(PAUSE_SECONDS):
            self._forward()
        self._forward()

    def _forward(self) -> None:
        for path in sorted(self._folder.glob("*.log")):
            for line in self._read_lines(path):
                self._say(f"{path.stem:<13} | {line}")

    def _read_lines(self, path: Path) -> list[str]:
        place = self._places.get(path, 0)
        try:
            with path.open("rb") as file:
                place = place if place <= path.stat().st_size else 0  # the log was rotated: start at 0
                file.seek(place)
                new = file.read()
        except OSError:
            return []
        self._places[path] = place + len(new)
        *whole, rest = (self._rests.get(path, b"") + new).split(b"\n")
        self._rests[path] = rest
        return [line.decode(errors="replace") for line in whole]
