"""Streaming a provider's output to a file: bounded in bytes, seconds and memory.

urllib3 alone, because requests reads the body of a redirect into memory before it goes on.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin

import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, ReadTimeoutError

from rushes.artifacts.errors import (
    DownloadCut,
    DownloadFailed,
    NotAVideo,
    OutputExpired,
    OutputTooLarge,
    storage_errors,
)

_CHUNK_BYTES = 256 * 1024
_HOPS = 6  # the address itself and five redirects
_BUSY_STATUSES = frozenset({408, 425, 429})
# A nonsensical wish must not park a paid file until it expires.
_RETRY_AFTER = urllib3.Retry(retry_after_max=3600)
# Identity: the length that the server announces is then the length of the file.
_HEADERS = {"User-Agent": "rushes", "Accept-Encoding": "identity"}
_pool = urllib3.PoolManager(maxsize=32, headers=_HEADERS, retries=False, ca_certs=DEFAULT_CA_BUNDLE_PATH)


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """What one download may take. `stall` is the longest wait without a byte, `heartbeat` the pace of `keep_going`.

    A lease that `keep_going` renews must outlast `heartbeat + connect + stall`, since nothing is called while no byte
    comes, and the time the disk takes to flush a file.
    """

    largest_bytes: int = 4 * 1024**3
    connect: timedelta = timedelta(seconds=10)
    stall: timedelta = timedelta(seconds=20)
    total: timedelta = timedelta(minutes=30)
    heartbeat: timedelta = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Download:
    """What arrived: its length, and its SHA-256 in lower-case hex."""

    bytes: int
    sha256: str


class Heartbeat:
    """Calls `keep_going`, but no more often than once per `interval`, however often it is beaten."""

    def __init__(
        self,
        keep_going: Callable[[], None],
        *,
        interval: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep_going = keep_going
        self._interval = interval.total_seconds()
        self._clock = clock
        self._next = clock() + self._interval

    def beat(self) -> None:
        if self._clock() >= self._next:
            self._keep_going()
            self._next = self._clock() + self._interval


def download_file(source_url: str, target: Path, *, limits: DownloadLimits, keep_going: Callable[[], None]) -> Download:
    """Copy what `source_url` serves into the new file `target`, following redirects and sending no credentials.

    Returns only when every byte has arrived. Raises `DownloadFailed` or `DownloadCut` (try again), `OutputExpired`,
    `OutputTooLarge`, `NotAVideo` (an address that is none), `StorageFull`, `Unavailable`, or whatever `keep_going`
    raises to stop; `target` is then left for the caller to remove.
    """
    heartbeat = Heartbeat(keep_going, interval=limits.heartbeat)
    deadline = time.monotonic() + limits.total.total_seconds()
    digest = hashlib.sha256()
    size = 0
    with (
        _open_source(source_url, limits=limits, heartbeat=heartbeat) as response,
        storage_errors(),
        target.open("xb") as file,
    ):
        for chunk in _read_chunks(response):
            size += len(chunk)
            _check_size(size, limits=limits)
            digest.update(chunk)
            file.write(chunk)
            heartbeat.beat()
            if time.monotonic() > deadline:
                raise DownloadCut(f"the output took longer than {limits.total}; {size} bytes had come")
    return Download(bytes=size, sha256=digest.hexdigest())


@contextmanager
def _open_source(
    source_url: str, *, limits: DownloadLimits, heartbeat: Heartbeat
) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answer that carries the file, its status and announced length checked."""
    url = source_url
    for _ in range(_HOPS):
        with _request(url, limits=limits) as response:
            location = response.get_redirect_location()
            if not location:
                _check_answer(response, place=_place(url), limits=limits)
                yield response
                return
        url = _follow(url, location)
        heartbeat.beat()
    raise DownloadFailed(f"{_place(source_url)} redirects more than {_HOPS - 1} times")


def _request(url: str, *, limits: DownloadLimits) -> urllib3.BaseHTTPResponse:
    timeout = urllib3.Timeout(connect=limits.connect.total_seconds(), read=limits.stall.total_seconds())
    try:
        if urllib3.util.parse_url(url).scheme not in {"http", "https"}:
            raise NotAVideo("the output is not the http(s) address of a file")
        return _pool.request("GET", url, redirect=False, preload_content=False, timeout=timeout)
    except LocationValueError as error:
        raise NotAVideo("the output is not the http(s) address of a file") from error
    except HTTPError as error:
        raise DownloadFailed(f"{_place(url)} could not be reached: {type(error).__name__}") from error


def _follow(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise NotAVideo("the output redirects to something that is no address") from error


def _check_answer(response: urllib3.BaseHTTPResponse, *, place: str, limits: DownloadLimits) -> None:
    status = response.status
    if 400 <= status < 500 and status not in _BUSY_STATUSES:
        raise OutputExpired(f"{place} no longer gives the file: status {status}")
    if status != 200:
        raise DownloadFailed(f"{place} answered with status {status}", retry_after=_retry_after(response))
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal():
        _check_size(int(announced), limits=limits)


def _check_size(size: int, *, limits: DownloadLimits) -> None:
    if size > limits.largest_bytes:
        raise OutputTooLarge(f"the output has more than {limits.largest_bytes} bytes, the most that is stored")


def _read_chunks(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The body as it arrives: a read returns with the first bytes there are, so that a trickle cannot hide."""
    try:
        while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
            yield chunk
    except ReadTimeoutError as error:
        raise DownloadCut("the server of the output stopped sending") from error
    except HTTPError as error:
        raise DownloadCut("the output ended before its last byte") from error


def _retry_after(response: urllib3.BaseHTTPResponse) -> timedelta | None:
    try:
        seconds = _RETRY_AFTER.get_retry_after(response)
    except InvalidHeader:
        return None
    return None if seconds is None else timedelta(seconds=seconds)


def _place(url: str) -> str:
    """Where a URL points, without its query: signatures are secrets."""
    parts = urllib3.util.parse_url(url)
    return f"{parts.host}{parts.path or ''}"
