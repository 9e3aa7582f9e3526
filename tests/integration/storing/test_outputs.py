"""Copying outputs from a server that misbehaves in every way a CDN can."""

import gzip
import hashlib
import os
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from rushes.artifacts.download import Arrived, DownloadLimits, download_file
from rushes.artifacts.errors import (
    DownloadCut,
    DownloadFailed,
    NotAnAddress,
    OutputEmpty,
    OutputRefused,
    OutputTooLarge,
    StorageFull,
    Suspect,
)
from rushes.artifacts.publish import KeptFile, StoredVideo, UnverifiedFile, copy_kept, store_video
from rushes.artifacts.store import ArtifactStore
from rushes.errors import InvalidInput, NotFound, Transient
from tests.support.http_server import serve_http
from tests.support.simulator_client import wait_until
from tests.support.videos import make_audio, make_video

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

    with serve_http(Handler) as offered.url:
        yield offered
        offered.closing.set()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


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
    kept: KeptFile | None = None,
    **limits: timedelta | int,
) -> StoredVideo | UnverifiedFile:
    return store_video(
        partial(download_file, url, limits=DownloadLimits(**limits), keep_going=keep_going),
        store=store,
        name=name,
        temporary_name="prediction-claim",
        keep_going=keep_going,
        kept=kept,
    )


def copy_video(url: str, store: ArtifactStore) -> StoredVideo:
    stored = copy(url, store)
    assert isinstance(stored, StoredVideo)
    return stored


def copy_other(url: str, store: ArtifactStore, *, kept: KeptFile | None = None) -> UnverifiedFile:
    stored = copy(url, store, kept=kept)
    assert isinstance(stored, UnverifiedFile)
    return stored


def published(store: ArtifactStore) -> list[str]:
    root = store.scratch().parent
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def unverified(*bodies: bytes) -> list[str]:
    """The names under which these bytes are kept."""
    return sorted(f"batch/1-fox.{hashlib.sha256(body).hexdigest()[:12]}.unverified" for body in bodies)


def read(store: ArtifactStore, url: str) -> bytes:
    with store.open(url) as file:
        return file.read()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: OutputServer, store: ArtifactStore, film: bytes, status: int) -> None:
    server.offer(whole(film), path="/cdn/a.mp4")

    stored = copy_video(server.offer(redirect("../cdn/a.mp4?signature=1", status=status)), store)

    assert stored.bytes == len(film)
    assert [path for path, _ in server.asked] == ["/output/a.mp4", "/cdn/a.mp4?signature=1"]


def test_a_video_and_its_poster_are_stored_byte_for_byte(
    server: OutputServer, store: ArtifactStore, film: bytes
) -> None:
    stored = copy_video(server.offer(whole(film)), store)

    assert read(store, stored.url) == film
    assert (stored.bytes, stored.sha256) == (len(film), hashlib.sha256(film).hexdigest())
    poster = read(store, stored.poster_url)
    assert (stored.poster_bytes, stored.poster_sha256) == (len(poster), hashlib.sha256(poster).hexdigest())
    assert (stored.facts.container, stored.facts.width, stored.facts.has_audio) == ("mp4", 320, True)
    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.mp4"]


def test_a_chunked_answer_without_a_length_is_stored(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
    stored = copy_video(server.offer(chunked(film[:1000], film[1000:])), store)

    assert read(store, stored.url) == film


def test_the_name_follows_the_container(server: OutputServer, store: ArtifactStore, tmp_path: Path) -> None:
    content = make_video(tmp_path / "a.webm", audio=False).read_bytes()

    copy(server.offer(whole(content)), store)

    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.webm"]


def test_a_download_sends_no_login_and_uses_no_proxy(
    server: OutputServer, store: ArtifactStore, film: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    copy(server.offer(whole(film)), store)

    ((_, headers),) = server.asked
    assert set(headers) == {"Host", "User-Agent", "Accept-Encoding"}


def test_a_connection_serves_several_downloads(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
    ports = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        ports.append(request.client_address)
        whole(film)(request)

    url = server.offer(answer)
    copy(url, store)
    copy(url, store)

    assert ports[0] == ports[1]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refused_address_is_recognised_and_its_signature_kept_quiet(
    server: OutputServer, store: ArtifactStore, status: int
) -> None:
    url = server.offer(whole(b"<Error/>", status=status), path="/output/a.mp4?signature=secret")

    with pytest.raises(OutputRefused) as caught:
        copy(url, store)

    assert str(caught.value) == f"status {status}: 127.0.0.1/output/a.mp4 does not give the file"


@pytest.mark.parametrize("status", [204, 304, 408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_tried_again(server: OutputServer, store: ArtifactStore, status: int) -> None:
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
    server: OutputServer, store: ArtifactStore, wish: str, wait: timedelta | None
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
    server: OutputServer, store: ArtifactStore, film: bytes, header: tuple[str, str]
) -> None:
    body = film if header[0] == "Content-Length" else f"{len(film) * 2:x}\r\n".encode() + film

    with pytest.raises(DownloadCut, match=r"^127\.0\.0\.1/output/a\.mp4 ended the file before its last byte"):
        copy(server.offer(cut(body, header=header)), store)

    assert published(store) == []


def test_a_cut_that_http_cannot_notice_is_noticed_in_the_file(
    server: OutputServer, store: ArtifactStore, film: bytes
) -> None:
    stored = copy_other(server.offer(cut(film[:-200], header=("Connection", "close"))), store)

    assert (stored.suspect, stored.arrived.bytes) == (Suspect.CUT, len(film) - 200)
    assert stored.message == f"the output ends early: {len(film) - 200} bytes of at least {len(film)}"
    assert published(store) == unverified(film[:-200])


def test_a_server_that_stops_sending_is_left(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
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


def test_a_server_that_does_not_answer_is_left(server: OutputServer, store: ArtifactStore) -> None:
    with pytest.raises(DownloadFailed, match="ReadTimeoutError"):
        copy(server.offer(lambda _: server.closing.wait() and None), store, stall=timedelta(milliseconds=200))


def test_a_trickle_does_not_outlast_the_total(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
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
def test_a_file_over_the_cap_is_refused(server: OutputServer, store: ArtifactStore, answer: Answer) -> None:
    with pytest.raises(OutputTooLarge, match="sends more than 100000 bytes"):
        copy(server.offer(answer), store, largest_bytes=100_000)

    assert published(store) == []


def bare_deflate(body: bytes) -> bytes:
    """Deflate as some servers send it, without the wrapper that the standard asks for."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("X-GZip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare_deflate)],
)
def test_a_compressed_answer_is_decoded(
    server: OutputServer, store: ArtifactStore, film: bytes, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    stored = copy_video(server.offer(whole(encode(film), Content_Encoding=encoding)), store)

    assert read(store, stored.url) == film
    assert (stored.bytes, stored.sha256) == (len(film), hashlib.sha256(film).hexdigest())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, deflate", "br", "binary/octet-stream"])
def test_a_wrong_encoding_does_not_hide_the_video(
    server: OutputServer, store: ArtifactStore, film: bytes, encoding: str
) -> None:
    stored = copy_video(server.offer(whole(film, Content_Encoding=encoding)), store)

    assert read(store, stored.url) == film


def test_a_compressed_answer_that_is_cut_is_a_cut_download(
    server: OutputServer, store: ArtifactStore, film: bytes
) -> None:
    packed = gzip.compress(film)
    answer = whole(packed[:-100], Content_Encoding="gzip", Content_Length=str(len(packed)), Connection="close")

    with pytest.raises(DownloadCut):
        copy(server.offer(answer), store)

    assert published(store) == []


def test_a_compressed_answer_that_ends_early_unannounced_is_a_cut_download(
    server: OutputServer, store: ArtifactStore, film: bytes
) -> None:
    answer = cut(gzip.compress(film)[:-100], header=("Content-Encoding", "gzip"))

    with pytest.raises(DownloadCut, match="compressed"):
        copy(server.offer(answer), store)


def test_the_cap_holds_for_what_a_compressed_answer_unfolds_to(server: OutputServer, store: ArtifactStore) -> None:
    with pytest.raises(OutputTooLarge):
        copy(server.offer(whole(gzip.compress(bytes(200_000)), Content_Encoding="gzip")), store, largest_bytes=100_000)


@pytest.mark.parametrize("announced", ["bytes 0-{last}/{size}", "bytes 0-{last}/*", "bytes", None])
def test_a_whole_file_is_taken_though_it_comes_as_a_part(
    server: OutputServer, store: ArtifactStore, film: bytes, announced: str | None
) -> None:
    headers = {} if announced is None else {"Content_Range": announced.format(last=len(film) - 1, size=len(film))}

    assert copy_video(server.offer(whole(film, status=206, **headers)), store).bytes == len(film)


@pytest.mark.parametrize("announced", ["bytes 0-99/1000", "bytes 900-999/1000", "bytes 900-999/*"])
def test_a_part_of_the_file_is_tried_again(server: OutputServer, store: ArtifactStore, announced: str) -> None:
    url = server.offer(whole(bytes(100), status=206, Content_Range=announced))

    with pytest.raises(DownloadFailed) as caught:
        copy(url, store)

    assert str(caught.value) == f"127.0.0.1/output/a.mp4 sent only a part of the file: {announced}"
    assert published(store) == []


@pytest.mark.parametrize(
    "answer",
    [whole(b""), chunked(), whole(gzip.compress(b""), Content_Encoding="gzip"), whole(b"", status=206)],
    ids=["empty", "chunked", "compressed", "part"],
)
def test_an_empty_answer_is_tried_again(server: OutputServer, store: ArtifactStore, answer: Answer) -> None:
    with pytest.raises(OutputEmpty, match=r"^127\.0\.0\.1/output/a\.mp4 answered with an empty file$"):
        copy(server.offer(answer), store)

    assert published(store) == []


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_audio(tmp_path_factory.mktemp("song") / "a.m4a", "ipod", "aac").read_bytes()


PAGE = b"<!doctype html><html>sign in</html>"
NOISE = bytes(range(256)) * 4
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b080001000101011100ffd9")


@pytest.mark.parametrize(
    ("body", "content_type", "suspect", "message"),
    [
        (b"no video at all", "video/mp4", Suspect.FILE, "the output is not a playable video"),
        (JPEG, "image/jpeg", Suspect.FILE, "the output is a still image (jpeg), not a video"),
        (PAGE, "text/html", Suspect.DOCUMENT, "the output is a web page (text/html), not a video"),
        (b'{"code":500}', "", Suspect.DOCUMENT, "the output is a JSON document, not a video"),
    ],
)
def test_a_file_that_is_no_video_is_kept_byte_for_byte(
    server: OutputServer, store: ArtifactStore, body: bytes, content_type: str, suspect: Suspect, message: str
) -> None:
    answer = whole(body, Content_Type=f"{content_type.upper()}; charset=utf-8")
    url = server.offer(redirect(server.offer(answer, path="/cdn/b%20c.mp4?signature=secret")))

    stored = copy_other(url, store)

    assert stored.url is not None
    assert read(store, stored.url) == body
    assert stored.arrived == Arrived(
        bytes=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        content_type=content_type,
        source=f"{server.url}/cdn/b%20c.mp4",
    )
    assert stored.suspect is suspect
    assert stored.message.startswith(message)
    assert published(store) == unverified(body)


def test_a_song_is_kept(server: OutputServer, store: ArtifactStore, song: bytes) -> None:
    stored = copy_other(server.offer(whole(song)), store)

    assert (stored.suspect, stored.message) == (Suspect.FILE, "the output is audio without a picture")
    assert published(store) == unverified(song)


def test_the_source_names_no_user(server: OutputServer, store: ArtifactStore) -> None:
    url = server.offer(whole(PAGE)).replace("http://", "http://me:secret@")

    assert copy_other(f"{url}#part", store).arrived.source == f"{server.url}/output/a.mp4"


def as_kept(file: UnverifiedFile) -> KeptFile:
    assert file.url is not None
    return KeptFile(file.url, file.arrived.bytes, file.arrived.sha256, file.suspect)


def test_the_same_bytes_are_not_published_again_unless_the_file_is_gone(
    server: OutputServer, store: ArtifactStore
) -> None:
    url = server.offer(whole(PAGE))
    first = copy_other(url, store)

    second = copy_other(url, store, kept=as_kept(first))
    assert (second.url, second.arrived) == (None, first.arrived)

    store.remove(first.url or "")
    assert copy_other(url, store, kept=as_kept(first)).url == first.url
    assert published(store) == unverified(PAGE)


def test_the_better_file_is_kept(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
    part, large_page = film[:-200], PAGE + b" " * len(film)
    page = copy_other(server.offer(whole(PAGE)), store)
    assert copy_other(server.offer(whole(large_page)), store, kept=as_kept(page)).url

    cut_video = copy_other(server.offer(whole(part)), store, kept=as_kept(page))
    assert copy_other(server.offer(whole(large_page)), store, kept=as_kept(cut_video)).url is None

    whole_file = copy_other(server.offer(whole(NOISE)), store, kept=as_kept(cut_video))
    assert copy_other(server.offer(whole(part)), store, kept=as_kept(whole_file)).url is None
    assert read(store, whole_file.url or "") == NOISE


def recheck(url: str, store: ArtifactStore, *, keep_going: Callable[[], None] = go_on) -> StoredVideo | UnverifiedFile:
    return store_video(
        lambda target: copy_kept(store, url, target, keep_going=keep_going),
        store=store,
        name="batch/1-fox.mp4",
        temporary_name="recheck",
        keep_going=keep_going,
    )


def test_a_kept_file_is_checked_again_without_a_download(store: ArtifactStore, film: bytes) -> None:
    source = store.scratch() / "kept"
    source.write_bytes(film)
    (url,) = store.publish((source, "batch/1-fox.unverified"))
    asked: list[int] = []

    stored = recheck(url, store, keep_going=lambda: asked.append(1))

    assert isinstance(stored, StoredVideo)
    assert (stored.bytes, stored.sha256) == (len(film), hashlib.sha256(film).hexdigest())
    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.mp4", "batch/1-fox.unverified"]
    assert len(asked) == 3  # once while it was copied, and between the stages


def test_a_kept_file_that_is_gone_is_missed(store: ArtifactStore) -> None:
    with pytest.raises(NotFound):
        recheck((store.scratch().parent / "batch" / "1-fox.unverified").as_uri(), store)

    assert published(store) == []


def test_a_playlist_makes_us_ask_for_nothing_else(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
    inner = server.offer(whole(film), path="/inner.mp4")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{inner}\n#EXT-X-ENDLIST\n"

    copy_other(server.offer(whole(playlist.encode()), path="/output/a.m3u8"), store)

    assert [path for path, _ in server.asked] == ["/output/a.m3u8"]


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://127.0.0.1/a.mp4", "AAAAIGZ0eXBpc29t/AAAA", "data:video/mp4;base64,AA", "http://", ""],
)
def test_an_output_that_is_no_web_address_is_refused(store: ArtifactStore, url: str) -> None:
    with pytest.raises(NotAnAddress, match="address"):
        copy(url, store)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://[", "data:,a"])
def test_a_redirect_away_from_the_web_is_refused(server: OutputServer, store: ArtifactStore, location: str) -> None:
    with pytest.raises(NotAnAddress, match="address"):
        copy(server.offer(redirect(location)), store)


def test_redirects_in_a_circle_come_to_an_end(server: OutputServer, store: ArtifactStore) -> None:
    with pytest.raises(DownloadFailed, match="more than 5 times"):
        copy(server.offer(redirect("/output/a.mp4")), store)

    assert len(server.asked) == 6


def test_a_server_that_is_away_is_tried_again(store: ArtifactStore) -> None:
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
    server: OutputServer, store: ArtifactStore, film: bytes, calls: int
) -> None:
    left = calls

    def keep_going() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stopped

    with pytest.raises(Stopped):
        copy(server.offer(whole(film)), store, keep_going=keep_going)

    assert published(store) == []


def test_the_caller_is_asked_before_anything_becomes_visible(
    server: OutputServer, store: ArtifactStore, film: bytes
) -> None:
    seen: list[list[str]] = []

    copy(server.offer(whole(film)), store, keep_going=lambda: seen.append(published(store)))

    video, poster = ".incoming/prediction-claim.part", ".incoming/prediction-claim.poster.part"
    assert seen[-2:] == [[video], [video, poster]]
    assert {name for names in seen for name in names} == {video, poster}


def test_the_video_appears_after_its_poster(
    server: OutputServer, store: ArtifactStore, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, names = Path.replace, []
    monkeypatch.setattr(Path, "replace", lambda old, new: names.append(new.name) or replace(old, new))

    copy(server.offer(whole(film)), store)

    assert names == ["1-fox.jpg", "1-fox.mp4"]


def test_a_full_disk_is_not_the_jobs_fault(
    server: OutputServer, store: ArtifactStore, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(28, os.strerror(28))

    (store.scratch().parent / "batch").mkdir()
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StorageFull) as caught:
        copy(server.offer(whole(film)), store)

    assert isinstance(caught.value, Transient)
    assert published(store) == []


def test_storing_again_gives_the_same_file(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
    url = server.offer(whole(film))

    assert copy(url, store) == copy(url, store)
    assert published(store) == ["batch/1-fox.jpg", "batch/1-fox.mp4"]


def test_a_name_outside_the_store_is_refused_before_anything_is_fetched(
    server: OutputServer, store: ArtifactStore, film: bytes
) -> None:
    with pytest.raises(InvalidInput):
        copy(server.offer(whole(film)), store, name="../a.mp4")

    assert server.asked == []


def test_downloads_do_not_disturb_each_other(server: OutputServer, store: ArtifactStore, film: bytes) -> None:
    url = server.offer(whole(film))
    stored: list[StoredVideo | UnverifiedFile] = []

    def work(number: int) -> None:
        stored.append(
            store_video(
                partial(download_file, url, limits=DownloadLimits(), keep_going=go_on),
                store=store,
                name=f"batch/{number}.mp4",
                temporary_name=f"prediction-{number}",
                keep_going=go_on,
            )
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {read(store, each.url or "") for each in stored} == {film}
    assert len({each.url for each in stored}) == 8
