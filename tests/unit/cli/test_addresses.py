"""Addresses of images: what the provider cannot fetch is refused before money is spent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from cli.prompt_file import addresses
from cli.prompt_file.addresses import check_addresses
from cli.prompt_file.jobs import Fill, prepare_jobs
from cli.prompt_file.records import FileRefused, Line, PromptFile
from tests.support.http_server import serve_http

NOW = datetime.now(UTC)


def check(*images: str) -> list[str]:
    """The warnings, or the problems if the file is refused."""
    lines = [Line(number, {"prompt": "a", "image": image}) for number, image in enumerate(images, start=1)]
    file = PromptFile("f.csv", lines)
    try:
        return list(check_addresses(file, prepare_jobs(file, Fill(model="ltx-2-pro-i2v"), max_jobs=100)))
    except FileRefused as error:
        return error.lines()


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "[::1]", "10.0.0.7", "192.168.1.2", "169.254.169.254", "nas.local"]
)
def test_an_address_in_a_private_network_is_refused(host: str) -> None:
    assert check(f"http://{host}/a.png") == [
        "f.csv:1: image: is on this machine or in a private network: the provider cannot fetch it"
    ]


DIALECTS = ("s3", "google", "cloudfront", "azure")


def sign(dialect: str, ends_at: datetime) -> str:
    signed_at = ends_at - timedelta(seconds=900)
    query = {
        "s3": f"X-Amz-Date={signed_at:%Y%m%dT%H%M%SZ}&X-Amz-Expires=900&X-Amz-Signature=f00",
        "google": f"X-Goog-Date={signed_at:%Y%m%dT%H%M%SZ}&X-Goog-Expires=900",
        "cloudfront": f"Expires={ends_at.timestamp():.0f}&Signature=f00",
        "azure": f"sv=2026&se={ends_at:%Y-%m-%dT%H:%M:%SZ}&sig=f00",
    }[dialect]
    return f"https://bucket.example/a.png?{query}"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_expired_signature_is_refused(dialect: str) -> None:
    line, advice = check(sign(dialect, NOW - timedelta(hours=1)))
    assert line.startswith("f.csv:1: image: has expired at ")
    assert advice == "f.csv: if this file was pushed before, --no-check finds its batch"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_signature_that_expires_soon_is_warned_of(dialect: str) -> None:
    address = sign(dialect, NOW + timedelta(hours=1))
    (line,) = check(address, address)
    assert line.startswith("warning: f.csv:1: image: expires at ")
    assert line.endswith("jobs that are submitted later will fail (and 1 more lines)")


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Expires=x",
        "Expires=never",
        "se=tomorrow",
        "Expires=9999999999999999",
        "expires=86400",
        "se=2020-01-01",
        "",
    ],
)
def test_an_unreadable_end_of_a_signature_is_no_problem(query: str) -> None:
    assert addresses._judge(f"https://bucket.example/a.png?{query}") is None


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host of images on this machine, which counts as a public one."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            status, kind = self.path.lstrip("/").split("/", maxsplit=1)
            self.send_response(int(status))
            self.send_header("Content-Type", kind)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    monkeypatch.setattr(addresses, "_judge", lambda _: None)
    with serve_http(Handler) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("200/image/png", []),
        ("403/text/html", []),  # a signature for GET only
        ("405/text/html", []),
        ("200/text/html; charset=utf-8", ["f.csv:1: image: is a web page, not a file: "]),
        ("404/image/png", ["f.csv:1: image: does not exist: its host answered 404"]),
        ("503/image/png", ["warning: f.csv:1: image: may not be readable: its host answered 503"]),
    ],
)
def test_an_address_is_judged_by_its_answer(host: str, path: str, expected: list[str]) -> None:
    found = check(f"{host}/{path.replace(' ', '%20')}")
    assert len(found) == len(expected)
    assert all(line.startswith(each) for line, each in zip(found, expected, strict=True))


def test_a_host_that_cannot_be_reached_is_only_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_judge", lambda _: None)
    assert check("http://127.0.0.1:9/a.png") == [
        "warning: f.csv:1: image: cannot be reached from here (ConnectionError)"
    ]


def warn_of(forecast: tuple[float, float] | None, *valid_hours: float) -> list[str]:
    """The warnings of addresses that are valid for these hours."""
    images = [f"{sign('s3', NOW + timedelta(hours=hours))}&n={number}" for number, hours in enumerate(valid_hours)]
    lines = [Line(number, {"prompt": "a", "image": image}) for number, image in enumerate(images, start=1)]
    file = PromptFile("f.csv", lines)
    prepared = prepare_jobs(file, Fill(model="ltx-2-pro-i2v"), max_jobs=100)
    found = check_addresses(file, prepared, lambda: forecast)
    return [each.partition(" expires")[0] for each in found if "expires" in each]


def test_an_address_is_compared_with_the_turn_of_its_job() -> None:
    minutes, days = 600.0, 3 * 86_400.0
    assert warn_of((minutes, minutes), 1) == []
    assert warn_of((days, days), 1, 80) == ["warning: f.csv:1: image:"]
    assert warn_of((minutes, days), 1, 1, 1, 80) == ["warning: f.csv:2: image:", "warning: f.csv:3: image:"]


def test_an_address_is_compared_with_a_day_without_a_forecast() -> None:
    assert warn_of(None, 1, 25) == ["warning: f.csv:1: image:"]


def test_a_forecast_is_asked_for_only_if_an_address_expires() -> None:
    file = PromptFile("f.csv", [Line(1, {"prompt": "a", "image": "https://bucket.example/a.png"})])
    prepared = prepare_jobs(file, Fill(model="ltx-2-pro-i2v"), max_jobs=100)
    assert not [each for each in check_addresses(file, prepared, pytest.fail) if "expires" in each]  # type: ignore[arg-type]
