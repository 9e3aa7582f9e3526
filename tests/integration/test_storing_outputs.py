"""Copying outputs from a server that misbehaves in every way a CDN can."""

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rushes.artifacts import (
    ArtifactStore,
    DownloadCut,
    DownloadFailed,
    DownloadLimits,
    LocalStore,
    NotAVideo,
    OutputExpired,
    OutputTooLarge,
    StorageFull,
    StoredVideo,
    store_video,
)
from rushes.errors import InvalidInput, Transient
from tests.simulator_client import wait_until
from tests.videos import make_video

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class OutputServer:
    """A server whose answer to each path is a function; it notes what it was asked."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def offer(self, answer: Answer, *, path: str = "/output/a.mp4") -> str:
        self.answers[path.partition("?")[0]] = answer
        return self.url + path


@pytest.fixture
def server() -> Iterator[OutputServer]:
    offered = OutputServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            offered.asked.append((self.path, dict(self.headers)))
            try:
                offered.answers[self.path.partition("?")[0]](self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        offered.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield offered
        finally:
            offered.closing.set()
            httpd.shutdown()
            thread.join()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "artifacts")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    options = {"movflags": "faststart"}
    return make_video(tmp_path_factory.mktemp("film") / "a.mp4", width=320, height=176, options=options).read_bytes()


def whole(body: bytes, *, status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def cut(body: bytes, *, header: tuple[str, str]) -> Answer:
    """Sends the body and hangs up, whatever the header promised."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header(*header)
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    return answer


def chunked(*chunks: bytes) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for chunk in (*chunks, b""):
            request.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")

    return answer


def redirect(location: str, *, status: int = 302) -> Answer:
    return whole(b"moved", status=status, Location=location)


def go_on() -> None:
    """A caller that never wants to stop."""


def copy(
    url: str,
    store: ArtifactStore,
    *,
    keep_going: Callable[[], None] = go_on,
    name: str = "batch/1-fox.mp4",
    **limits: timedelta | int,
) -> StoredVideo:
    return store_video(
        url,
        store=store,
        name=name,
        temporary_name="prediction-claim",
        limits=DownloadLimits(**limits),
        keep_going=keep_going,
    )


def published(store: LocalStore) -> list[str]:
    root = store.scratch().parent
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def read(store: ArtifactStore, url: str) -> bytes:
    with store.open(url) as file:
        return file.read()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: OutputServer, store: LocalStore, film: bytes, status: int) -> None:
    server.offer(whole(film), path="/cdn/a.mp4")

    stored = copy(server.offer(redirect("../cdn/a.mp4?signature=1", status=status)), store)

    assert stored.bytes == len(film)
    assert [path for path, _ in server.asked] == ["/output/a.mp4", "/cdn/a.mp4?signature=1"]


def test_a_video_and_its_poster_are_stored_byte_for_byte(server: OutputServer, store: LocalStore, film: bytes) -> None:
    stored = copy(server.offer(whole(film)), store)

    assert read(store, stored.url) == film
    assert (stored.bytes, stored.sha256) == (len(film), hashlib.sha256(film).hexdigest())
    poster = read(store, stored.poster_url)
    assert (stored.poster_bytes, stored.poster_sha256) == (len(poster), hashlib.sha256(poster).hexdigest())
    assert (stored.facts.container, stored.facts.width, stored.facts.has_audio) == ("mp4", 320, True)
    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.mp4"]


def test_a_chunked_answer_without_a_length_is_stored(server: OutputServer, store: LocalStore, film: bytes) -> None:
    stored = copy(server.offer(chunked(film[:1000], film[1000:])), store)

    assert read(store, stored.url) == film


def test_the_name_follows_the_container(server: OutputServer, store: LocalStore, tmp_path: Path) -> None:
    content = make_video(tmp_path / "a.webm", audio=False).read_bytes()

    copy(server.offer(whole(content)), store)

    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.webm"]


def test_nothing_of_ours_is_sent_along(
    server: OutputServer, store: LocalStore, film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    copy(server.offer(whole(film)), store)

    ((_, headers),) = server.asked
    assert set(headers) == {"Host", "User-Agent", "Accept-Encoding"}


def test_a_connection_serves_several_downloads(server: OutputServer, store: LocalStore, film: bytes) -> None:
    ports = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        ports.append(request.client_address)
        whole(film)(request)

    url = server.offer(answer)
    copy(url, store)
    copy(url, store)

    assert ports[0] == ports[1]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_an_expired_address_is_told_apart_and_its_signature_kept_quiet(
    server: OutputServer, store: LocalStore, status: int
) -> None:
    url = server.offer(whole(b"<Error/>", status=status), path="/output/a.mp4?signature=secret")

    with pytest.raises(OutputExpired) as caught:
        copy(url, store)

    assert str(caught.value) == f"127.0.0.1/output/a.mp4 no longer gives the file: status {status}"


@pytest.mark.parametrize("status", [204, 206, 304, 408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_tried_again(server: OutputServer, store: LocalStore, status: int) -> None:
    with pytest.raises(DownloadFailed, match=f"status {status}"):
        copy(server.offer(whole(b"", status=status)), store)


@pytest.mark.parametrize(
    ("wish", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("99999999999999", timedelta(hours=1)),
        ("Thu, 01 Jan 2026 00:00:00 GMT", timedelta(0)),
        ("soon", None),
    ],
)
def test_the_wish_of_a_busy_server_is_passed_on(
    server: OutputServer, store: LocalStore, wish: str, wait: timedelta | None
) -> None:
    with pytest.raises(DownloadFailed) as caught:
        copy(server.offer(whole(b"", status=503, Retry_After=wish)), store)

    assert caught.value.retry_after == wait


@pytest.mark.parametrize(
    "header",
    [("Content-Length", "1000000"), ("Transfer-Encoding", "chunked")],
    ids=["length", "chunked"],
)
def test_a_cut_download_leaves_no_file(
    server: OutputServer, store: LocalStore, film: bytes, header: tuple[str, str]
) -> None:
    body = film if header[0] == "Content-Length" else f"{len(film) * 2:x}\r\n".encode() + film

    with pytest.raises(DownloadCut, match="before its last byte"):
        copy(server.offer(cut(body, header=header)), store)

    assert published(store) == []


def test_a_cut_that_http_cannot_notice_is_noticed_in_the_file(
    server: OutputServer, store: LocalStore, film: bytes
) -> None:
    with pytest.raises(NotAVideo, match="ends early"):
        copy(server.offer(cut(film[:-200], header=("Connection", "close"))), store)

    assert published(store) == []


def test_a_server_that_stops_sending_is_left(server: OutputServer, store: LocalStore, film: bytes) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(film)))
        request.end_headers()
        request.wfile.write(film[:1000])
        server.closing.wait()

    url = server.offer(answer)

    def leave() -> DownloadFailed | None:
        """None where this machine stood still before the first bytes."""
        with pytest.raises(DownloadFailed) as caught:
            copy(url, store, stall=timedelta(milliseconds=200))
        return caught.value if isinstance(caught.value, DownloadCut) else None

    assert "stopped sending" in str(wait_until(leave, "a download that began"))
    assert published(store) == []


def test_a_server_that_does_not_answer_is_left(server: OutputServer, store: LocalStore) -> None:
    with pytest.raises(DownloadFailed, match="ReadTimeoutError"):
        copy(server.offer(lambda _: server.closing.wait() and None), store, stall=timedelta(milliseconds=200))


def test_a_trickle_does_not_outlast_the_total(server: OutputServer, store: LocalStore, film: bytes) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(film)))
        request.end_headers()
        request.wfile.write(film[:1])
        server.closing.wait()

    with pytest.raises(DownloadCut, match="took longer"):
        copy(server.offer(answer), store, total=timedelta(0))


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"", Content_Length=str(10**12)),
        chunked(bytes(50_000), bytes(50_000), bytes(50_000)),
    ],
    ids=["announced", "unannounced"],
)
def test_a_file_over_the_cap_is_refused(server: OutputServer, store: LocalStore, answer: Answer) -> None:
    with pytest.raises(OutputTooLarge, match="100000 bytes"):
        copy(server.offer(answer), store, largest_bytes=100_000)

    assert published(store) == []


def test_a_page_instead_of_a_video_is_refused(server: OutputServer, store: LocalStore) -> None:
    with pytest.raises(NotAVideo):
        copy(server.offer(whole(b"<html>sign in</html>", Content_Type="text/html")), store)

    assert published(store) == []


def test_a_playlist_makes_us_ask_for_nothing_else(server: OutputServer, store: LocalStore, film: bytes) -> None:
    inner = server.offer(whole(film), path="/inner.mp4")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{inner}\n#EXT-X-ENDLIST\n"

    with pytest.raises(NotAVideo):
        copy(server.offer(whole(playlist.encode()), path="/output/a.m3u8"), store)

    assert [path for path, _ in server.asked] == ["/output/a.m3u8"]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/a.mp4", "AAAAIGZ0eXBpc29t/AAAA", "data:video/mp4;base64,AA", "http://", ""],
)
def test_an_output_that_is_no_web_address_is_refused(store: LocalStore, url: str) -> None:
    with pytest.raises(NotAVideo, match="address"):
        copy(url, store)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://[", "data:,a"])
def test_a_redirect_away_from_the_web_is_refused(server: OutputServer, store: LocalStore, location: str) -> None:
    with pytest.raises(NotAVideo, match="address"):
        copy(server.offer(redirect(location)), store)


def test_redirects_in_a_circle_come_to_an_end(server: OutputServer, store: LocalStore) -> None:
    with pytest.raises(DownloadFailed, match="more than 5 times"):
        copy(server.offer(redirect("/output/a.mp4")), store)

    assert len(server.asked) == 6


def test_a_server_that_is_away_is_tried_again(store: LocalStore) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/a.mp4?signature=secret"

        with pytest.raises(DownloadFailed, match="could not be reached") as caught:
            copy(url, store)

    assert "secret" not in str(caught.value)


class Stopped(Exception):
    """The worker shuts down."""


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_caller_that_stops_leaves_nothing_behind(
    server: OutputServer, store: LocalStore, film: bytes, calls: int
) -> None:
    left = calls

    def keep_going() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stopped

    with pytest.raises(Stopped):
        copy(server.offer(whole(film)), store, keep_going=keep_going, heartbeat=timedelta(0))

    assert published(store) == []


def test_the_caller_is_asked_before_anything_becomes_visible(
    server: OutputServer, store: LocalStore, film: bytes
) -> None:
    seen: list[list[str]] = []

    only_between = timedelta(hours=1)
    copy(server.offer(whole(film)), store, keep_going=lambda: seen.append(published(store)), heartbeat=only_between)

    video, poster = ".incoming/prediction-claim.part", ".incoming/prediction-claim.poster.part"
    assert seen == [[video], [video, poster]]


def test_the_video_appears_after_its_poster(
    server: OutputServer, store: LocalStore, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, names = store.publish, []
    monkeypatch.setattr(store, "publish", lambda source, name: names.append(name) or publish(source, name))

    copy(server.offer(whole(film)), store)

    assert names == ["batch/1-fox.jpg", "batch/1-fox.mp4"]


def test_a_full_disk_is_not_the_jobs_fault(
    server: OutputServer, store: LocalStore, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, os.strerror(28))

    (store.scratch().parent / "batch").mkdir()
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StorageFull) as caught:
        copy(server.offer(whole(film)), store)

    assert isinstance(caught.value, Transient)
    assert published(store) == []


def test_storing_again_gives_the_same_file(server: OutputServer, store: LocalStore, film: bytes) -> None:
    url = server.offer(whole(film))

    assert copy(url, store) == copy(url, store)
    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.mp4"]


def test_a_name_outside_the_store_is_refused_before_anything_is_fetched(
    server: OutputServer, store: LocalStore, film: bytes
) -> None:
    with pytest.raises(InvalidInput):
        copy(server.offer(whole(film)), store, name="../a.mp4")

    assert server.asked == []


def test_downloads_do_not_disturb_each_other(server: OutputServer, store: LocalStore, film: bytes) -> None:
    url = server.offer(whole(film))
    stored: list[StoredVideo] = []

    def work(number: int) -> None:
        stored.append(
            store_video(
                url,
                store=store,
                name=f"batch/{number}.mp4",
                temporary_name=f"prediction-{number}",
                limits=DownloadLimits(),
                keep_going=go_on,
            )
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {read(store, each.url) for each in stored} == {film}
    assert len({each.url for each in stored}) == 8
