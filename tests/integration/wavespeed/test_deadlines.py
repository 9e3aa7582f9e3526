"""No call outlasts its total time, however the other side trickles; and whether a submit was sent is a fact."""

import gzip
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from rushes.wavespeed.answers import NotSent, ProviderUnavailable, SubmitOutcomeUnknown
from rushes.wavespeed.client import Timeouts, WaveSpeedClient
from rushes.wavespeed.transport import MAX_ANSWER_BYTES
from tests.support.scripted_provider import KEY, MODEL, PATIENT, TASK, VALUES, client_of, envelope
from tests.support.scripted_server import Peer, Script, ScriptedServer, answering, deaf_port, full_port, trust_authority

TOTAL = 0.5
FORCED = Timeouts(connect=90, read=90, total=TOTAL, submit_total=TOTAL)
SLACK = 30.0
"""Seconds that a busy machine may add; far below what any of these servers would take by itself."""


@contextmanager
def lasting(seconds: float) -> Iterator[None]:
    """The block takes this long and not much longer."""
    began = time.monotonic()
    yield
    assert seconds * 0.9 <= time.monotonic() - began < seconds + SLACK


def submit_until_sent(client: WaveSpeedClient, values: dict[str, Any] = VALUES, *, lasts: float = TOTAL) -> None:
    """It ends unconfirmed after this time; on a machine that stands still the time may be up before the first byte."""
    for _ in range(10):
        with lasting(lasts):
            try:
                client.submit(MODEL, values)
            except NotSent:
                continue
            except SubmitOutcomeUnknown:
                return
        raise AssertionError("it was answered")
    raise AssertionError("it was never sent")


def drip_the_head(peer: Peer) -> None:
    peer.read_request()
    peer.drip(b"HTTP/1.1 200 OK\r\nX-Slow:")


def drip_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    peer.drip(b'{"code":')


def drip_chunks(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        peer.send(b"1\r\n \r\n")
        peer.wait(0.02)


def continue_for_ever(peer: Peer) -> None:
    peer.read_request()
    while True:
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.wait(0.02)


def say_nothing(peer: Peer) -> None:
    peer.read_request()
    peer.hang()


def flood_before_the_head(peer: Peer) -> None:
    peer.read_request()
    while True:
        peer.send(b"HTTP/1.1 100 Continue\r\nX-More: " + b"x" * 60_000 + b"\r\n\r\n")


SLOW = [drip_the_head, drip_the_body, drip_chunks, continue_for_ever, flood_before_the_head, say_nothing]


@pytest.mark.parametrize("script", SLOW)
def test_a_submit_ends_unconfirmed_when_its_total_time_is_up(script: Script) -> None:
    with client_of(script, FORCED) as (client, server):
        submit_until_sent(client)
        server.wait_for_request()
    assert len(server.requests) == 1


@pytest.mark.parametrize("script", SLOW)
def test_a_check_ends_when_its_total_time_is_up(script: Script) -> None:
    with client_of(script, FORCED) as (client, server):
        with lasting(TOTAL), pytest.raises(ProviderUnavailable):
            client.get_prediction(TASK["id"])
        server.wait_for_request()
    assert len(server.requests) == 1


def test_the_total_time_of_a_kept_connection_begins_anew_with_each_check(monkeypatch: pytest.MonkeyPatch) -> None:
    passed, monotonic = [0.0], time.monotonic
    with client_of(answering((200, envelope(TASK))), PATIENT) as (client, server):
        monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed[0])
        for _ in range(3):
            client.get_prediction(TASK["id"])
            passed[0] += PATIENT.total / 2
    assert server.connections == 1


def test_a_check_gives_up_without_an_answer_before_its_total_time() -> None:
    impatient = Timeouts(connect=60, read=0.3, total=120)
    with client_of(say_nothing, impatient) as (client, _), lasting(0.3), pytest.raises(ProviderUnavailable):
        client.get_prediction(TASK["id"])


def read_slowly(peer: Peer) -> None:
    while peer.sock.recv(65_536):
        peer.wait(0.05)


@pytest.mark.parametrize("script", [Peer.hang, read_slowly])
def test_a_server_that_reads_slowly_cannot_hold_a_submit(script: Script) -> None:
    with client_of(script, FORCED) as (client, _):
        submit_until_sent(client, {"prompt": "x" * 30_000_000})


def flood_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(4 * MAX_ANSWER_BYTES // 65_536):
        peer.send(b" " * 65_536)


def flood_a_chunk_size(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(4 * MAX_ANSWER_BYTES // 65_536):
        peer.send(b"0" * 65_536)


def flood_by_unpacking(peer: Peer) -> None:
    peer.read_request()
    peer.answer(200, gzip.compress(b" " * (MAX_ANSWER_BYTES + 1)), Content_Encoding="gzip")


def flood_behind_a_redirect(peer: Peer) -> None:
    peer.read_request()
    peer.answer(302, gzip.compress(b" " * (MAX_ANSWER_BYTES + 1)), Content_Encoding="gzip", Location="/elsewhere")


FLOODS = [flood_the_body, flood_a_chunk_size, flood_by_unpacking, flood_behind_a_redirect]


@pytest.mark.parametrize("script", FLOODS)
def test_an_answer_without_end_is_cut_at_the_limit(script: Script) -> None:
    with client_of(script) as (client, _), pytest.raises(ProviderUnavailable, match=r"larger|more than|exceeded"):
        client.get_prediction(TASK["id"])


def submit_at(url: str, timeouts: Timeouts = FORCED, **kwargs: Any) -> None:
    client = WaveSpeedClient(url, KEY, timeouts=timeouts, tls=kwargs.pop("tls", None))
    client.submit(MODEL, VALUES, **kwargs)


def test_a_refused_connection_is_surely_not_sent() -> None:
    with deaf_port() as port, pytest.raises(NotSent, match="Connection refused") as caught:
        submit_at(f"http://127.0.0.1:{port}", PATIENT)
    assert not caught.value.is_late


def test_a_connection_that_nobody_takes_up_is_surely_not_sent() -> None:
    with full_port() as port, lasting(0.3), pytest.raises(NotSent):
        submit_at(f"http://127.0.0.1:{port}", Timeouts(connect=0.3, submit_total=120))


def test_a_name_that_does_not_exist_is_surely_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NotSent, match="Name or service not known"):
        submit_at("https://api.example.invalid")


def resolve_to(*addresses: str) -> Callable[..., list[Any]]:
    """A `getaddrinfo` that finds these for every name, and an address for itself."""

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        found = addresses if host == "many.example" else (host,)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    return getaddrinfo


def test_the_next_address_is_tried_when_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolve_to("127.0.0.9", "127.0.0.1"))
    with ScriptedServer(answering((200, envelope(TASK)))) as server:
        submit_at(f"http://many.example:{server.port}", PATIENT)
    assert len(server.requests) == 1
    assert server.requests[0].headers["host"] == f"many.example:{server.port}"


def test_many_dead_addresses_do_not_add_up_beyond_the_total_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolve_to(*["127.0.0.1"] * 400))
    with full_port() as port, lasting(TOTAL), pytest.raises(NotSent):
        submit_at(f"http://many.example:{port}", Timeouts(connect=0.2, submit_total=TOTAL))


def read_what_comes(into: list[bytes]) -> Script:
    return lambda peer: into.append(peer.read_byte())


def test_a_submit_whose_time_has_passed_is_not_sent_though_connected() -> None:
    came: list[bytes] = []
    with ScriptedServer(read_what_comes(came)) as server:
        with pytest.raises(NotSent) as caught:
            submit_at(server.url, PATIENT, send_before=time.monotonic())
        server.wait_for_ends(1)
    assert caught.value.is_late
    assert (server.connections, came) == (1, [b""])


def test_a_submit_that_still_has_time_is_sent() -> None:
    with ScriptedServer(answering((200, envelope(TASK)))) as server:
        submit_at(server.url, PATIENT, send_before=time.monotonic() + 60)
    assert len(server.requests) == 1


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    return trust_authority()


def over_tls(script: Script, *, handshake_after: float = 0) -> Script:
    def secured(peer: Peer) -> None:
        peer.wait(handshake_after)
        peer.start_tls()
        script(peer)

    return secured


def secure_url(server: ScriptedServer) -> str:
    return server.url.replace("http:", "https:")


def test_submits_and_checks_work_over_tls(tls: ssl.SSLContext) -> None:
    with ScriptedServer(over_tls(answering((200, envelope(TASK))))) as server:
        client = WaveSpeedClient(secure_url(server), KEY, tls=tls)
        ids = {
            client.get_prediction(TASK["id"]).id,
            client.submit(MODEL, VALUES).id,
            client.get_prediction(TASK["id"]).id,
        }
        client.close()
    assert ids == {TASK["id"]}
    assert [each.connection for each in server.requests] == [0, 1, 0]


@pytest.mark.parametrize("script", SLOW)
def test_the_total_time_holds_over_tls(script: Script, tls: ssl.SSLContext) -> None:
    total = 2 * TOTAL  # a handshake takes its time
    timeouts = Timeouts(connect=90, read=90, total=total, submit_total=total)
    with ScriptedServer(over_tls(script)) as server:
        submit_until_sent(WaveSpeedClient(secure_url(server), KEY, timeouts=timeouts, tls=tls), lasts=total)


def test_the_time_to_send_is_checked_after_the_handshake(tls: ssl.SSLContext) -> None:
    came: list[bytes] = []
    with ScriptedServer(over_tls(read_what_comes(came), handshake_after=0.4)) as server:
        with pytest.raises(NotSent) as caught:
            submit_at(secure_url(server), Timeouts(), tls=tls, send_before=time.monotonic() + 0.2)
        server.wait_for_ends(1)
    assert caught.value.is_late
    assert came == [b""]


def answer_in_plain_text(peer: Peer) -> None:
    peer.read_byte()
    peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def drip_a_handshake(peer: Peer) -> None:
    peer.send(b"\x16\x03\x03\x40\x00\x02")
    peer.drip(b"")


def close_at_once(_: Peer) -> None:
    """Nothing, and the connection ends with it."""


@pytest.mark.parametrize(
    "script",
    [answer_in_plain_text, drip_a_handshake, close_at_once, Peer.reset, Peer.hang, over_tls(close_at_once)],
    ids=["plain text", "drip", "close", "reset", "crash", "a certificate of nobody's"],
)
def test_a_submit_without_a_handshake_is_surely_not_sent(script: Script) -> None:
    began = time.monotonic()
    with ScriptedServer(script) as server, pytest.raises(NotSent):
        submit_at(secure_url(server))
    assert time.monotonic() - began < TOTAL + SLACK


def test_many_threads_share_one_client() -> None:
    def script(peer: Peer) -> None:
        while request := peer.read_request():
            peer.answer(200, envelope({**TASK, "id": request.target.split("/")[-2]}))

    wanted = [f"id{number}" for number in range(200)]
    with client_of(script) as (client, server), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: client.get_prediction(each).id, wanted))
    assert found == wanted
    assert server.connections <= 8
