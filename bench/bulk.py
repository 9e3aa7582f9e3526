"""A hundred thousand jobs as lines of JSON in one request: seconds, the API's memory, pauses of other requests."""

import gzip
import json
import threading
import time

import psutil
import requests
from rich.console import Console

from bench.rushes_stack import find_headers, open_stack, order
from bench.tables import Table
from rushes.settings import Settings

BULK = "bulk"
LINES, LINES_QUICK = 100_000, 10_000
SECONDS, MEGABYTES = 20, 250
REST_SECONDS = 0.01


class _Bystander:
    """Requests a small page of jobs again and again, and reads the memory of the API's process."""

    def __init__(self, settings: Settings) -> None:
        self.waits: list[float] = []
        self.megabytes = 0.0
        self._settings = settings
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        (api,) = [each for each in psutil.Process().children(recursive=True) if "api.app" in " ".join(each.cmdline())]
        with requests.Session() as session:
            session.headers.update(find_headers(self._settings))
            while not self._over.wait(REST_SECONDS):
                began = time.perf_counter()
                session.get(f"{self._settings.url}/v1/me", timeout=60).raise_for_status()
                self.waits.append(time.perf_counter() - began)
                self.megabytes = max(self.megabytes, api.memory_info().rss / 1e6)


def measure_bulk(*, quick: bool, console: Console) -> list[Table]:
    """Add lines to an open batch of a separate stack without workers, plain and compressed."""
    lines = LINES_QUICK if quick else LINES
    words = "a lighthouse in a storm, seen from the sea, with gulls and a heavy swell, slow dolly shot"
    jobs = ({**order(f"{words}, take {number}"), "client_ref": f"S-{number}"} for number in range(lines))
    plain = "".join(f"{json.dumps(job)}\n" for job in jobs).encode()
    rows = []
    with open_stack(workers=0) as stack:
        for name, body, encoding in (("plain", plain, "identity"), ("gzip", gzip.compress(plain), "gzip")):
            console.print(f"{lines:,} lines, {name}, {len(body) / 1e6:.1f} MB ...")
            seconds, bystander = _add(stack.settings, name, body, encoding)
            waits = sorted(bystander.waits)
            pauses = f"{waits[len(waits) // 2] * 1e3:.0f}", f"{waits[-1] * 1e3:.0f}"
            rows.append((name, f"{seconds:.1f}", f"{SECONDS}", f"{bystander.megabytes:.0f}", f"{MEGABYTES}", *pauses))
    header = ("body", "seconds", "promised", "peak MB of the API", "promised", "other requests: p50 ms", "longest ms")
    return [Table(f"{BULK}: {lines:,} lines of JSON; the promises are for {LINES:,}", header, tuple(rows))]


def _add(settings: Settings, name: str, body: bytes, encoding: str) -> tuple[float, _Bystander]:
    headers = find_headers(settings)
    requests.post(f"{settings.url}/v1/batches", json={"name": name}, headers=headers, timeout=30).raise_for_status()
    headers |= {"Content-Type": "application/x-ndjson", "Content-Encoding": encoding, "Idempotency-Key": name}
    with _Bystander(settings) as bystander:
        began = time.perf_counter()
        url = f"{settings.url}/v1/batches/{name}/jobs"
        requests.post(url, data=body, headers=headers, timeout=300).raise_for_status()
        seconds = time.perf_counter() - began
    return seconds, bystander
