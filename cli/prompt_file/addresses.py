"""Check the addresses of images and videos before money is spent: the provider must be able to fetch them."""

import ipaddress
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import requests

from cli.prompt_file.jobs import Prepared
from cli.prompt_file.records import FileRefused, LineProblem, PromptFile
from rushes.catalog import find_reference, find_video_model
from rushes.errors import Problem

AT_ONCE = 16
SECONDS = (3.0, 5.0)
MOST_REQUESTS = 500
"""How many distinct addresses are requested. A mistake usually concerns all addresses of a file."""
SOON = timedelta(days=1)
LATEST = timedelta(days=30)
"""An address that is valid for longer is not compared with a forecast."""
_EARLIEST = 1_000_000_000  # a time in 2001, in seconds since 1970


class Place(NamedTuple):
    """The line and the field of an address."""

    number: int
    field: str


class AddressFault(NamedTuple):
    """What is wrong with an address. A warning does not refuse the file."""

    message: str
    is_warning: bool = False


def check_addresses(
    file: PromptFile, prepared: Prepared, forecast: Callable[[], tuple[float, float] | None] = lambda: None
) -> Iterator[str]:
    """Yield a warning for each address that may fail. Raises `FileRefused` for those that the provider cannot use.

    The first `MOST_REQUESTS` addresses are requested once, by HEAD. `forecast` returns the seconds until the first and
    the last job are likely to have ended; it is called only if an address expires within `LATEST`.
    """
    places = _find_addresses(prepared)
    findings = {address: found for address in places if (found := _judge(address))}
    findings |= _find_late(places, numbers=prepared.numbers, forecast=forecast)
    others = [address for address in places if address not in findings][:MOST_REQUESTS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = zip(others, pool.map(_request, others), strict=True)
        findings |= {address: found for address, found in answers if found}
    problems = [
        LineProblem(place.number, Problem(place.field, found.message))
        for address, found in findings.items()
        for place in places[address]
        if not found.is_warning
    ]
    if problems:
        advice = Problem("", "if this file was pushed before, --no-check finds its batch")
        ordered = sorted(problems, key=lambda each: each.number)
        raise FileRefused(file.name, [*ordered, LineProblem(0, advice)] if _has_expired(findings) else ordered)
    for address, found in findings.items():
        place, *more = places[address]
        also = f" (and {len(more):,} more lines)" if more else ""
        yield f"warning: {file.name}:{place.number}: {place.field}: {found.message}{also}"


def _has_expired(faults: Mapping[str, "AddressFault"]) -> bool:
    return any(fault.message.startswith("has expired") for fault in faults.values())


def _find_addresses(prepared: Prepared) -> Mapping[str, list[Place]]:
    places: defaultdict[str, list[Place]] = defaultdict(list)
    for job, number in zip(prepared.jobs, prepared.numbers, strict=True):
        model = find_video_model(job["model"])
        for parameter in model.parameters if model else ():
            if parameter.kind == "url" and not find_reference(job["input"][parameter.name]):
                places[job["input"][parameter.name]].append(Place(number, parameter.name))
    return places


def _judge(address: str) -> AddressFault | None:
    """Judge an address without a request: its host, and the end of its signature."""
    host = urlsplit(address).hostname or ""
    is_local = host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    with suppress(ValueError):
        is_local = not ipaddress.ip_address(host).is_global
    if is_local:
        return AddressFault("is on this machine or in a private network: the provider cannot fetch it")
    ends_at = _find_end(address)
    if ends_at is None or ends_at >= datetime.now(UTC):
        return None
    return AddressFault(f"has expired at {ends_at:%Y-%m-%d %H:%M} UTC: sign it again")


def _find_late(
    places: Mapping[str, list[Place]], *, numbers: list[int], forecast: Callable[[], tuple[float, float] | None]
) -> dict[str, AddressFault]:
    """Return the addresses that may expire before their last job has ended; without a forecast, within a day.

    It assumes that the jobs of a file end in its order, at equal intervals.
    """
    now = datetime.now(UTC)
    found = ((address, _find_end(address)) for address in places)
    ends = {address: end for address, end in found if end and now <= end < now + LATEST}
    expected = forecast() if ends else None
    late = {}
    for address, end in ends.items():
        turn, words = now + SOON, "jobs that are submitted later will fail"
        if expected is not None:
            first, last = expected
            share = bisect_left(numbers, places[address][-1].number) / max(1, len(numbers) - 1)
            turn = now + timedelta(seconds=first + (last - first) * share)
            words = f"its job should end by {turn:%Y-%m-%d %H:%M} UTC, but fails if it starts after the address expires"
        if end < turn:
            late[address] = AddressFault(f"expires at {end:%Y-%m-%d %H:%M} UTC: {words}", is_warning=True)
    return late


def _find_end(address: str) -> datetime | None:
    """Return when a signed address expires, in the dialects of S3, Google, CloudFront and Azure."""
    values = {name.lower(): each[0] for name, each in parse_qs(urlsplit(address).query).items()}
    with suppress(KeyError, ValueError, OverflowError):
        for dialect in ("x-amz", "x-goog"):
            if f"{dialect}-expires" in values:
                signed_at = datetime.strptime(values[f"{dialect}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return signed_at + timedelta(seconds=int(values[f"{dialect}-expires"]))
        if int(values.get("expires", 0)) > _EARLIEST:  # a smaller number is a length of time
            return datetime.fromtimestamp(int(values["expires"]), UTC)
        ends_at = datetime.fromisoformat(values["se"] if "sig" in values else "")
        return ends_at if ends_at.tzinfo else ends_at.replace(tzinfo=UTC)
    return None


def _request(address: str) -> AddressFault | None:
    try:
        with requests.head(address, timeout=SECONDS, allow_redirects=True) as answer:
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            status = answer.status_code
    except requests.RequestException as error:
        return AddressFault(f"cannot be reached from here ({type(error).__name__})", is_warning=True)
    if status in (404, 410):
        return AddressFault(f"does not exist: its host answered {status}")
    if answer.ok and kind in ("text/html", "application/xhtml+xml"):
        return AddressFault("is a web page, not a file: give the address of the image or video itself")
    # Hosts may refuse HEAD, and a signature may allow GET only.
    return AddressFault(f"may not be readable: its host answered {status}", is_warning=True) if status >= 500 else None
