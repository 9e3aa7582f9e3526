"""How long files take until they are stored, next to plain downloads of the same files in the same run."""

import contextlib
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping

import psycopg
import urllib3

from bench.arithmetic import find_mean, find_percentile

CHUNK_BYTES = 256 * 1024
PAUSE_SECONDS = 0.5

MEAN, P95 = "completion to stored file, mean, s", "completion to stored file, 95 %, s"
STEP, PLAIN, RATIO = "store step, median, s", "plain download, median, s", "store step / plain download"

_NEWEST = "SELECT outputs->>0 FROM prediction WHERE state = 'completed' ORDER BY ended_at DESC LIMIT 1"
_STORED = """
    SELECT provider_id, extract(epoch FROM artifact.created_at)::float8,
        extract(epoch FROM artifact.created_at - begun_at)::float8
    FROM artifact JOIN prediction ON prediction.id = prediction_id WHERE kind = 'video'
"""


class PlainDownloads:
    """Downloads the newest output to a file twice a second and does nothing else with it."""

    def __init__(self, database_url: str) -> None:
        self.seconds: list[float] = []
        self._database_url = database_url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; does nothing if it has not started."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        http = urllib3.PoolManager(retries=False)
        with psycopg.connect(self._database_url, autocommit=True) as database:
            while not self._over.wait(PAUSE_SECONDS):
                if newest := database.execute(_NEWEST).fetchone():
                    with contextlib.suppress(urllib3.exceptions.HTTPError):
                        self.seconds.append(_download(http, str(newest[0])))


def _download(http: urllib3.PoolManager, url: str) -> float:
    began = time.perf_counter()
    with tempfile.TemporaryFile() as file, http.request("GET", url, preload_content=False) as response:
        while chunk := response.read1(CHUNK_BYTES):
            file.write(chunk)
        return time.perf_counter() - began


def measure_storing(
    database: psycopg.Connection[tuple[object, ...]], ended: Mapping[str, float], plain: list[float]
) -> dict[str, float]:
    """The figures of the stored files. `ended` holds the ends of the renders at the provider, `plain` the downloads."""
    stored = database.execute(_STORED).fetchall()
    delays = [float(str(at)) - ended[str(task)] for task, at, _ in stored if task in ended]
    step, download = statistics.median(float(str(seconds)) for _, _, seconds in stored), statistics.median(plain)
    return {
        MEAN: find_mean(delays) or 0.0,
        P95: find_percentile(delays, 0.95) or 0.0,
        STEP: step,
        PLAIN: download,
        RATIO: step / download,
    }
