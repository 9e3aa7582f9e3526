"""Requests to URLs of callers: which addresses are called, and within which limits."""

import socket
import ssl
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes import network
from rushes.callbacks import guarded_requests
from rushes.callbacks.guarded_requests import check_url, post_guarded
from rushes.network import AllowedPlaces
from rushes.settings import Settings
from rushes.wavespeed.transport import Answer, ExchangeError
from tests.support.scripted_server import Peer, ScriptedServer, trust_authority

PRIVATE = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "2001:db8::/32",
    "64:ff9b:1::/48",
    "100::/64",
]
METADATA = ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fe80::1%1"]
EMBEDDED: list[Callable[[IPv4Address], IPv6Address]] = [
    lambda ip: IPv6Address(f"::ffff:{ip}"),
    lambda ip: IPv6Address(f"64:ff9b::{ip}"),
    lambda ip: IPv6Address((0x2002 << 112) | (int(ip) << 80)),
]
NOWHERE = AllowedPlaces()
private_v4 = st.sampled_from([each for each in map(ip_network, PRIVATE) if isinstance(each, IPv4Network)]).flatmap(
    lambda network: st.ip_addresses(network=network)
)


@given(st.sampled_from(PRIVATE).flatmap(lambda network: st.ip_addresses(network=network)))
def test_a_private_address_is_refused(address: IPv4Address | IPv6Address) -> None:
    assert not NOWHERE.admit("callbacks.example", str(address))


@pytest.mark.parametrize("address", METADATA)
def test_a_metadata_service_is_refused(address: str) -> None:
    assert not NOWHERE.admit("callbacks.example", address)


@given(private_v4, st.sampled_from(EMBEDDED))
def test_a_private_address_inside_another_is_refused(
    address: IPv4Address, embed: Callable[[IPv4Address], IPv6Address]
) -> None:
    assert not NOWHERE.admit("callbacks.example", str(embed(address)))
    assert AllowedPlaces.parse(str(address)).admit("callbacks.example", str(embed(address)))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_called(address: str) -> None:
    assert NOWHERE.admit("callbacks.example", address)


@given(st.ip_addresses(), st.integers(0, 32))
def test_a_network_that_the_setting_names_is_called(address: IPv4Address | IPv6Address, bits: int) -> None:
    named = ip_network(f"{address}/{bits}", strict=False)
    allowed = AllowedPlaces.parse(f" Callbacks.Internal , {named},")
    unwrapped = network._unwrap(address)
    assert unwrapped != address or allowed.admit("callbacks.example", str(address))
    assert allowed.admit("callbacks.INTERNAL", "10.0.0.1")


@pytest.mark.parametrize("text", ["http://a.example", "a b", "10.0.0.1/8", "10.0.0.0/33", "a/b", "*", "[::1]", "-a"])
def test_a_wrong_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="url_allow"):
        Settings(url_allow=text)
    assert Settings(url_allow="a.example,10.0.0.0/8, ::1").url_allow


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example",
        "file:///etc/passwd",
        "//a.example",
        "http://",
        "http://a.example:0/",
        "http://a.example:99999/",
        "http://[::1/",
        "http://user@a.example/",
        "http://:pass@a.example/",
        "http://a.example/\r\nX: y",
        "http://a.example/\0",
        "http://ä.example/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "",
    ],
)
def test_a_url_that_is_none_for_the_web_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        check_url(url)


def post(url: str, *, allow: str = "127.0.0.1", body: bytes = b"{}") -> Answer:
    return post_guarded(url, body, {"X-Mark": "7"}, tls=trust_authority(), allow=allow)


def answer(peer: Peer) -> None:
    assert peer.read_request()
    peer.answer(200, b"fine")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0"])
def test_this_machine_is_not_called(host: str) -> None:
    with ScriptedServer(answer) as server:
        with pytest.raises(ExchangeError, match="public or allowed by RUSHES_URL_ALLOW"):
            post(f"http://{host}:{server.port}/hook", allow="10.0.0.0/8")
        assert server.connections == 0


def test_an_allowed_host_gets_the_request_with_its_name() -> None:
    with ScriptedServer(answer) as server:
        assert post(f"http://localhost:{server.port}/hook?a=b", allow="localhost").body == b"fine"
        (request,) = server.requests
        assert (request.method, request.target, request.body) == ("POST", "/hook?a=b", b"{}")
        assert (request.headers["host"], request.headers["x-mark"]) == (f"localhost:{server.port}", "7")


def test_a_name_that_changes_its_address_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup, answers = socket.getaddrinfo, ["127.0.0.1", "127.0.0.2"]

    def rebind(host: str, port: int, *more: int, **options: int) -> list[object]:
        known = host if host != "rebound.example" else answers.pop(0)  # other threads ask for other hosts
        return list(lookup(known, port, *more, **options))

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    with ScriptedServer(answer) as server:
        assert post(f"http://rebound.example:{server.port}/").status == 200
        with pytest.raises(ExchangeError, match="RUSHES_URL_ALLOW"):
            post(f"http://rebound.example:{server.port}/")
        assert (server.connections, answers) == (1, [])


def test_only_the_public_addresses_of_a_name_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda _, port, **options: [*lookup("127.0.0.9", port, **options), *lookup("127.0.0.1", port, **options)],
    )
    with ScriptedServer(answer) as server:
        assert post(f"http://two.example:{server.port}/").status == 200


def serve_tls(peer: Peer) -> None:
    peer.start_tls()
    answer(peer)


def test_tls_verifies_the_name_and_the_authority() -> None:
    with ScriptedServer(serve_tls) as server:
        url = f"https://127.0.0.1:{server.port}/"
        assert post(url).body == b"fine"
        with pytest.raises(ExchangeError, match="certificate"):
            post(url.replace("127.0.0.1", "localhost"), allow="localhost")
        with pytest.raises(ExchangeError, match="certificate"):
            post_guarded(url, b"", {}, tls=ssl.create_default_context(), allow="127.0.0.1")


def test_a_redirect_is_not_followed() -> None:
    def redirect(peer: Peer) -> None:
        assert peer.read_request()
        peer.answer(302, Location=f"http://127.0.0.1:{server.port}/inside")

    with ScriptedServer(redirect) as server:
        assert post(f"http://127.0.0.1:{server.port}/").status == 302
        assert len(server.requests) == 1


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with ScriptedServer(serve_tls) as server:
        assert post(f"https://127.0.0.1:{server.port}/").status == 200


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_a_long_answer_is_cut(headers: dict[str, str]) -> None:
    def flood(peer: Peer) -> None:
        assert peer.read_request()
        peer.answer(200, b"x" * (guarded_requests.ANSWER_BYTES + 1), **headers)

    with ScriptedServer(flood) as server:
        taken = post(f"http://127.0.0.1:{server.port}/")
    assert (taken.status, len(taken.body)) == (200, guarded_requests.ANSWER_BYTES)


@pytest.mark.parametrize("line", [b"\0secret\r\n\r\n", b"HTTP/1.1 2\0 secret\r\n\r\n", b"secret" * 20_000])
def test_an_error_has_no_words_of_the_receiver(line: bytes) -> None:
    def babble(peer: Peer) -> None:
        assert peer.read_request()
        peer.send(line)

    with ScriptedServer(babble) as server, pytest.raises(ExchangeError) as raised:
        post(f"http://127.0.0.1:{server.port}/secret")
    assert str(raised.value) == "the answer is not valid HTTP"


def test_a_host_that_is_no_name_has_an_error_of_its_own() -> None:
    with pytest.raises(ExchangeError, match="the name of the host is not valid"):
        post(f"http://{'x' * 64}.example/secret")


def test_a_dripping_answer_ends_with_the_total_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_requests, "TOTAL_SECONDS", 0.3)

    def drip(peer: Peer) -> None:
        assert peer.read_request()
        peer.drip(b"HTTP/1.1 200 Fine\r\nContent-Length: 9999\r\n\r\n")

    with ScriptedServer(drip) as server:
        began = time.monotonic()
        with pytest.raises(ExchangeError):
            post(f"http://127.0.0.1:{server.port}/")
        assert time.monotonic() - began < 30
