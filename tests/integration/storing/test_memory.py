"""A file of any size passes through a worker in little memory."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.http_server import serve_http
from tests.support.videos import make_video

SMALL_BYTES, LARGE_BYTES = 1_000_000, 300_000_000

WORKER = """
import resource, sys
from functools import partial
from pathlib import Path
from rushes.artifacts.download import DownloadLimits, download_file
from rushes.artifacts.publish import store_video
from rushes.artifacts.store import ArtifactStore

def copy(url):
    go_on = lambda: None
    fetch = partial(download_file, url, limits=DownloadLimits(), keep_going=go_on)
    return store_video(fetch, store=ArtifactStore(Path(sys.argv[2])), name="b/1.mp4", temporary_name="p-1",
                       keep_going=go_on)

def peak_kib():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    # On Linux getrusage would count the process that started this one.
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

copy(sys.argv[1] + "/small")
before = peak_kib()
large = copy(sys.argv[1] + "/large")
print(large.bytes, peak_kib() - before)
"""


def test_300_megabytes_are_stored_in_less_than_30(tmp_path: Path) -> None:
    film = make_video(tmp_path / "a.mp4").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """The film, then a box of padding up to the size asked for."""
            padding = (LARGE_BYTES if self.path == "/large" else SMALL_BYTES) - len(film)
            self.send_response(200)
            self.send_header("Content-Length", str(len(film) + padding))
            self.end_headers()
            self.wfile.write(film + padding.to_bytes(4) + b"free")
            zeros = memoryview(bytes(1_000_000))
            for start in range(8, padding, len(zeros)):
                self.wfile.write(zeros[: padding - start])

    with serve_http(Handler) as url:
        command = [sys.executable, "-c", WORKER, url, str(tmp_path / "artifacts")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    size, growth_kib = map(int, done.stdout.split())
    assert size == LARGE_BYTES
    assert growth_kib < 30 * 1024
