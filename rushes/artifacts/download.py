"""Stream a provider's output to a file, with limits on bytes, seconds and memory.

We use urllib3 directly, because `requests` reads the body of a redirect into memory before it follows it.
"""

import hashlib
import itertools
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import urllib3
from urllib3.exceptions import DecodeError, HTTPError, LocationValueError, ReadTimeoutError

from rushes.artifacts.errors import (
    DownloadCut,
    DownloadFailed,
    NotAnAddress,
    OutputEmpty,
    OutputRefused,
    OutputTooLarge,
)
from rushes.artifacts.store import storage_errors
from rushes.network import find_proxy, trust_authorities
from rushes.timing import read_retry_after

CHUNK_BYTES = 256 * 1024
_HOPS = 6  # the address itself and five redirects
_BUSY_STATUSES = frozenset({408, 425, 429})
_COMPRESSED = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_HEADER = zlib.MAX_WBITS | 32  # zlib detects whether the header is gzip's or its own
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")
_RANGE = re.compile(r"bytes (?P<first>\d+)-(?P<last>\d+)/(?P<total>\d+|\*)", re.ASCII)
# Identity makes the announced length the length of the file. Some servers encode the file anyway.
_HEADERS = {"User-Agent": "rushes", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class DownloadLimits:
    """The limits of one download. `stall` is the longest wait without a byte.

    A lease that `keep_going` renews must outlast `connect + stall` plus the time the disk takes to flush a file,
    because nothing is called while no byte arrives. `ca_file` holds authorities to trust besides the public ones.
    """

    largest_bytes: int = 4 * 1024**3
    connect: timedelta = timedelta(seconds=10)
    stall: timedelta = timedelta(seconds=20)
    total: timedelta = timedelta(minutes=30)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Arrived:
    """A downloaded file: its length and its SHA-256 in lower-case hex.

    `content_type` is the media type from the server, in lower case and without parameters, or empty. `source` is the
    final address, without query, fragment and user info, because signatures are secrets.
    """

    bytes: int
    sha256: str
    content_type: str
    source: str


def download_file(source_url: str, target: Path, *, limits: DownloadLimits, keep_going: Callable[[], None]) -> Arrived:
    """Download `source_url` into the new file `target`. Follows redirects and sends no credentials.

    Returns only when every byte has arrived. A compressed answer is decoded. If its bytes are not really compressed,
    they are fetched again and stored as they are. `keep_going` is called for every chunk. Raises `DownloadFailed` or a
    subclass, `StorageFull`, `Unavailable`, or any exception that `keep_going` raises to stop. The caller must then
    remove `target`.
    """
    deadline = time.monotonic() + limits.total.total_seconds()
    try:
        return _receive(source_url, target, limits=limits, keep_going=keep_going, deadline=deadline, decode=True)
    except DecodeError:
        with storage_errors():
            target.unlink()
        return _receive(source_url, target, limits=limits, keep_going=keep_going, deadline=deadline, decode=False)


def write_file(chunks: Iterable[bytes], target: Path, *, keep_going: Callable[[], None]) -> tuple[int, str]:
    """Write the chunks to the new file `target`. Calls `keep_going` after each. Returns its length and SHA-256."""
    digest = hashlib.sha256()
    size = 0
    with storage_errors(), target.open("xb") as file:
        for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            file.write(chunk)
            keep_going()
    return size, digest.hexdigest()


def _receive(
    source_url: str,
    target: Path,
    *,
    limits: DownloadLimits,
    keep_going: Callable[[], None],
    deadline: float,
    decode: bool,
) -> Arrived:
    """Try once to copy the file. Raises `DecodeError` if the bytes are not encoded as the server says."""
    with _open_source(source_url, limits=limits, keep_going=keep_going) as (response, url):
        place = _place(url)
        chunks = _read_chunks(response, place=place, limits=limits, deadline=deadline)
        # With any other value the bytes are stored as they are: servers also put values here that are no encoding.
        if decode and response.headers.get("Content-Encoding", "").strip().lower() in _COMPRESSED:
            chunks = _inflate(chunks, place=place)
        size, sha256 = write_file(_bound(chunks, place=place, limits=limits), target, keep_going=keep_going)
        if size == 0:
            raise OutputEmpty(f"{place} answered with an empty file")
        return Arrived(
            bytes=size,
            sha256=sha256,
            content_type=_read_type(response.headers.get("Content-Type", "")),
            source=_source(url),
        )


@contextmanager
def _open_source(
    source_url: str, *, limits: DownloadLimits, keep_going: Callable[[], None]
) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
    """Yield the answer that carries the file, and its address, after checking status and announced length."""
    url = source_url
    for _ in range(_HOPS):
        with _request(url, limits=limits) as response:
            location = response.get_redirect_location()
            if not location:
                _check_answer(response, place=_place(url), limits=limits)
                yield response, url
                return
        url = _follow(url, location)
        keep_going()
    raise DownloadFailed(f"{_place(source_url)} redirects more than {_HOPS - 1} times")


@cache
def _open_pool(proxy: str | None, ca_file: Path | None) -> urllib3.PoolManager:
    options: dict[str, Any] = {"maxsize": 32, "headers": _HEADERS, "retries": False}
    options["ssl_context"] = trust_authorities(ca_file)
    if proxy is None:
        return urllib3.PoolManager(**options)
    login = unquote(urllib3.util.parse_url(proxy).auth or "")
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=login or None), **options)


def _request(url: str, *, limits: DownloadLimits) -> urllib3.BaseHTTPResponse:
    timeout = urllib3.Timeout(connect=limits.connect.total_seconds(), read=limits.stall.total_seconds())
    try:
        if urllib3.util.parse_url(url).scheme not in {"http", "https"}:
            raise NotAnAddress("the output is not the http(s) address of a file")
        pool = _open_pool(find_proxy(url), limits.ca_file)
        return pool.request("GET", url, redirect=False, preload_content=False, timeout=timeout)
    except LocationValueError:
        # Not chained: the original error quotes the address with its signature.
        raise NotAnAddress("the output is not the http(s) address of a file") from None
    except HTTPError as error:
        raise DownloadFailed(f"{type(error).__name__}: {_place(url)} could not be reached") from error


def _follow(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise NotAnAddress(f"{_place(url)} redirects to something that is not an address") from None


def _check_answer(response: urllib3.BaseHTTPResponse, *, place: str, limits: DownloadLimits) -> None:
    status = response.status
    if 400 <= status < 500 and status not in _BUSY_STATUSES:
        raise OutputRefused(f"status {status}: {place} does not give the file")
    if status not in {200, 206}:
        wish = read_retry_after(response.headers.get("Retry-After", ""), now=datetime.now(UTC))
        raise DownloadFailed(f"status {status} from {place}", retry_after=wish)
    if status == 206:
        _check_range(response.headers.get("Content-Range", ""), place=place)
    announced = response.headers.get("Content-Length", "")
    if announced.isdecimal():
        _check_size(int(announced), place=place, limits=limits)


def _check_range(announced: str, *, place: str) -> None:
    """Refuse a partial range. Some servers send the whole file as a range. Unclear cases are left to the probe."""
    found = _RANGE.fullmatch(announced.strip())
    if found is None:
        return
    first, last, total = found.group("first", "last", "total")
    if int(first) != 0 or (total != "*" and int(last) + 1 != int(total)):
        raise DownloadFailed(f"{place} sent only a part of the file: {found.group()}")


def _check_size(size: int, *, place: str, limits: DownloadLimits) -> None:
    if size > limits.largest_bytes:
        raise OutputTooLarge(f"{place} sends more than {limits.largest_bytes} bytes, the most that is stored")


def _read_chunks(
    response: urllib3.BaseHTTPResponse, *, place: str, limits: DownloadLimits, deadline: float
) -> Iterator[bytes]:
    """Yield the body as it arrives. A read returns the first available bytes, so that a trickle stays visible."""
    size = 0
    try:
        while chunk := response.read1(CHUNK_BYTES, decode_content=False):
            size += len(chunk)
            yield chunk
            if time.monotonic() > deadline:
                raise DownloadCut(f"{place} took longer than {limits.total}; {size} bytes had come")
    except ReadTimeoutError as error:
        raise DownloadCut(f"{place} stopped sending after {size} bytes") from error
    except HTTPError as error:
        raise DownloadCut(f"{place} ended the file before its last byte; {size} bytes had come") from error


def _inflate(chunks: Iterator[bytes], *, place: str) -> Iterator[bytes]:
    """Decompress gzip, zlib or bare deflate. Raises `DecodeError`, and `DownloadCut` if the stream ends early."""
    first = next(chunks, b"")
    has_header = first[:2] == b"\x1f\x8b" or (first[:1] or b"\0")[0] & 0x0F == 8
    bits = _ANY_HEADER if has_header else -zlib.MAX_WBITS
    decoder = zlib.decompressobj(bits)
    for chunk in itertools.chain([first], chunks):
        left = chunk
        while left:
            yield _decompress(decoder, left)
            left = decoder.unconsumed_tail
            if decoder.unused_data:  # another gzip member follows
                left, decoder = decoder.unused_data, zlib.decompressobj(bits)
    if not decoder.eof:
        raise DownloadCut(f"{place} ended the compressed file before its last byte")


def _decompress(decoder: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return decoder.decompress(data, CHUNK_BYTES)
    except zlib.error as error:
        raise DecodeError(str(error)) from error


def _bound(chunks: Iterator[bytes], *, place: str, limits: DownloadLimits) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        _check_size(size, place=place, limits=limits)
        yield chunk


def _read_type(announced: str) -> str:
    """Return the media type without its parameters, or an empty string if it does not look like one."""
    media_type = announced.partition(";")[0].strip().lower()
    return media_type if _TYPE.fullmatch(media_type) else ""


def _place(url: str) -> str:
    """Return the host and path of a URL, without its query: signatures are secrets."""
    parts = urllib3.util.parse_url(url)
    return f"{parts.host}{parts.path or ''}"


def _source(url: str) -> str:
    parts = urllib3.util.parse_url(url)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.host}{port}{parts.path or '/'}"
