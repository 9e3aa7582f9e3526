"""Slow networks, proxies and private authorities."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.doctor.checks import check_provider
from rushes.artifacts.download import DownloadLimits, download_file
from rushes.artifacts.errors import DownloadFailed
from rushes.errors import InvalidInput
from rushes.network import find_proxy, trust_authorities
from rushes.settings import Settings
from rushes.wavespeed import transport
from rushes.wavespeed.answers import NotSent
from rushes.wavespeed.client import Timeouts, WaveSpeedClient
from tests.support.scripted_provider import KEY, MODEL, PATIENT, TASK, VALUES, client_of, envelope
from tests.support.scripted_server import Peer, ScriptedServer, answering, full_port, make_authority

answer_task = answering((200, envelope(TASK)))
LOGIN = "me:se%2Fcret"
BASIC = "Basic bWU6c2UvY3JldA=="  # me:se/cret


def submit(client: WaveSpeedClient, **options: Any) -> None:
    with client.connected() as connection:
        client.submit(MODEL, VALUES, connection=connection, **options)


def test_a_slow_connection_uses_up_no_time_of_the_submission() -> None:
    with client_of(answer_task) as (client, server), client.connected() as connection:
        client.submit(MODEL, VALUES, connection=connection, send_before=time.monotonic() + 60)
        assert server.connections == 1
    assert connection.sock is None  # used once, and closed


def test_an_unused_connection_serves_the_next_submission() -> None:
    with client_of(answer_task) as (client, server):
        with client.connected():
            pass
        submit(client)
        assert (server.connections, len(server.requests)) == (1, 1)


def test_an_unused_tls_connection_serves_the_next_submission(tls: ssl.SSLContext) -> None:
    tickets_sent = threading.Event()

    def serve(peer: Peer) -> None:
        peer.start_tls()  # its session tickets follow the handshake
        tickets_sent.set()
        answer_task(peer)

    with ScriptedServer(serve) as server:
        client = WaveSpeedClient(server.url.replace("http", "https"), KEY, tls=tls)
        with client.connected():
            tickets_sent.wait()
        submit(client)
        assert (server.connections, len(server.requests)) == (1, 1)


def test_an_unused_connection_that_the_server_closed_is_replaced() -> None:
    def close_first(peer: Peer) -> None:
        if peer.number:
            answer_task(peer)

    with client_of(close_first) as (client, server):
        with client.connected():
            server.wait_for_ends(1)
        submit(client)
        assert (server.connections, len(server.requests)) == (2, 1)


def test_an_unused_connection_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "UNUSED_SECONDS", 0.0)
    with client_of(answer_task) as (client, server):
        with client.connected():
            pass
        submit(client)
        assert server.connections == 2


def test_a_connection_that_fails_beforehand_is_not_sent() -> None:
    with full_port() as port:
        client = WaveSpeedClient(f"http://127.0.0.1:{port}", KEY, timeouts=Timeouts(connect=0.1, total=0.2))
        with pytest.raises(NotSent, match="no connection for the submit"), client.connected():
            raise AssertionError("it is connected")


def test_an_address_that_never_answers_costs_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with full_port() as deaf, ScriptedServer(answer_task) as server:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (deaf, server.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        client = WaveSpeedClient("http://many.example", KEY, timeouts=Timeouts(connect=300, total=300))
        began = time.monotonic()
        submit(client)
        assert time.monotonic() - began < 100


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    make_authority().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def tls(ca_file: Path) -> ssl.SSLContext:
    return trust_authorities(ca_file)


def tunnel(script: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """A proxy with a login; its only target is a TLS server, which runs this script, in the same process."""

    def proxy(peer: Peer) -> None:
        asked = peer.read_request()
        if asked is None or asked.headers.get("proxy-authorization") != BASIC:
            peer.answer(407)
            return
        peer.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        peer.start_tls()
        script(peer)

    return proxy


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    with ScriptedServer(tunnel(answer_task)) as server:
        yield server


def test_requests_pass_a_proxy_with_a_login(proxy: ScriptedServer, tls: ssl.SSLContext) -> None:
    url = proxy.url.replace("://", f"://{LOGIN}@")
    client = WaveSpeedClient("https://127.0.0.1:9", KEY, tls=tls, proxy=url)
    submit(client)
    assert client.get_prediction(TASK["id"]).id == TASK["id"]
    assert [each.method for each in proxy.requests] == ["CONNECT", "POST", "CONNECT", "GET"]
    assert {each.target for each in proxy.requests if each.method == "CONNECT"} == {"127.0.0.1:9"}
    assert [each.headers.get("authorization") for each in proxy.requests if each.method == "CONNECT"] == [None, None]


def test_a_proxy_that_refuses_is_named_without_its_login(proxy: ScriptedServer) -> None:
    url = proxy.url.replace("://", "://me:wrong@")
    client = WaveSpeedClient("https://127.0.0.1:9", KEY, timeouts=PATIENT, proxy=url)
    with pytest.raises(NotSent, match=r"the proxy \(HTTPS_PROXY\) answered 407") as caught:
        submit(client)
    assert "wrong" not in str(caught.value)
    assert proxy.requests[0].method == "CONNECT"


def use_proxy(monkeypatch: pytest.MonkeyPatch, proxy: ScriptedServer) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", f"://{LOGIN}@"))


def test_the_doctor_passes_the_proxy_and_trusts_the_authority(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(wavespeed_url="https://127.0.0.1:9", wavespeed_api_key=KEY, ca_file=ca_file)  # type: ignore[arg-type]
    with ScriptedServer(tunnel(answering((200, envelope({"balance": 5}))))) as proxy:
        use_proxy(monkeypatch, proxy)
        assert check_provider(settings).status == "ok"


def test_a_download_passes_the_proxy_and_trusts_the_authority(
    ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_file(peer: Peer) -> None:
        peer.read_request()
        peer.answer(200, b"video")

    with ScriptedServer(tunnel(give_file)) as proxy:
        use_proxy(monkeypatch, proxy)
        target = tmp_path / "video"
        fetch = {"limits": DownloadLimits(ca_file=ca_file), "keep_going": lambda: None}
        assert download_file("https://127.0.0.1:9/a.mp4", target, **fetch).bytes == 5
        strange = {"limits": DownloadLimits(), "keep_going": lambda: None}
        with pytest.raises(DownloadFailed):
            download_file("https://127.0.0.1:9/a.mp4", tmp_path / "other", **strange)


@pytest.mark.parametrize(
    ("variables", "url", "proxy"),
    [
        ({}, "https://api.example", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://api.example", "http://p:3128"),
        ({"https_proxy": "p:3128"}, "https://api.example", "http://p:3128"),
        ({"ALL_PROXY": "http://p:3128"}, "https://api.example", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".example"}, "https://api.example", None),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "10.0.0.0/8"}, "https://10.1.2.3/a", None),
        ({"HTTP_PROXY": "http://p:3128", "ALL_PROXY": "http://p:3128"}, "http://api.example", None),
    ],
)
def test_the_environment_chooses_the_proxy(
    variables: dict[str, str], url: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy(url) == proxy


def test_a_proxy_of_another_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://p:1080")
    with pytest.raises(InvalidInput, match="HTTPS_PROXY: must be the address of an HTTP proxy"):
        find_proxy("https://api.example")
