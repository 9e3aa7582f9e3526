"""What happens on the wire: connections, cuts, garbage. Nothing is sent twice."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.wavespeed.answers import AccountRefused, InputRefused, ProviderUnavailable, SubmitOutcomeUnknown
from tests.support.scripted_provider import MODEL, TASK, VALUES, client_of, envelope, submit_to
from tests.support.scripted_server import Peer, Script, answering


def test_a_redirect_of_a_submit_is_not_followed() -> None:
    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.answer(307, b"moved", Location=f"/api/v3/{MODEL}?again")

    with client_of(script) as (client, server):
        with pytest.raises(SubmitOutcomeUnknown):
            client.submit(MODEL, VALUES)
        with pytest.raises(ProviderUnavailable):
            client.get_prediction(TASK["id"])
        assert [each.method for each in server.requests] == ["POST", "GET"]


def test_a_redirect_to_nonsense_is_an_answer_like_any_other() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.answer(302, b"moved", Location="http://[nonsense")

    with client_of(script) as (client, _), pytest.raises(ProviderUnavailable, match="answered 302"):
        client.get_prediction(TASK["id"])


def close_after_request(peer: Peer) -> None:
    peer.read_request()


def reset_after_request(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


def cut_the_head(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Le")


def cut_the_body(peer: Peer) -> None:
    peer.read_request()
    whole = json.dumps(envelope(TASK)).encode()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[:-1])


def cut_a_chunk(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n{}")


def speak_another_protocol(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"220 mail.example ESMTP\r\n")


CUTS = [close_after_request, reset_after_request, cut_the_head, cut_the_body, cut_a_chunk, speak_another_protocol]


@pytest.mark.parametrize("script", CUTS)
def test_a_submit_cut_after_it_was_sent_is_unconfirmed_and_not_repeated(script: Script) -> None:
    with client_of(script) as (client, server), pytest.raises(SubmitOutcomeUnknown):
        client.submit(MODEL, VALUES)
    assert len(server.requests) == server.connections == 1


@pytest.mark.parametrize("script", CUTS)
def test_a_check_that_is_cut_is_not_repeated_either(script: Script) -> None:
    with client_of(script) as (client, server), pytest.raises(ProviderUnavailable):
        client.get_prediction(TASK["id"])
    assert len(server.requests) == server.connections == 1


@pytest.mark.parametrize("status", [401, 402, 429])
def test_a_refusal_that_is_cut_is_no_refusal(status: int) -> None:
    def cut_refusal(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 %d No\r\nContent-Length: 100\r\n\r\n{" % status)

    with client_of(cut_refusal) as (client, _):
        with pytest.raises(SubmitOutcomeUnknown):
            client.submit(MODEL, VALUES)
        with pytest.raises(ProviderUnavailable):
            client.get_prediction(TASK["id"])


def test_checks_share_a_connection_and_a_submit_has_its_own() -> None:
    with client_of(answering((200, envelope(TASK)))) as (client, server):
        client.get_prediction(TASK["id"])
        client.submit(MODEL, VALUES)
        client.get_prediction(TASK["id"])
        client.submit(MODEL, VALUES)
    assert [each.connection for each in server.requests] == [0, 1, 0, 2]


def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.answer(200, envelope(TASK))

    with client_of(script) as (client, server):
        for number in range(3):
            assert client.get_prediction(TASK["id"]).id == TASK["id"]
            server.wait_for_ends(number + 1)
    assert [each.connection for each in server.requests] == [0, 1, 2]


def test_an_error_that_the_caller_was_handling_is_not_taken_for_the_cause() -> None:
    with client_of(close_after_request) as (client, _):
        try:
            json.loads("unrelated")
        except ValueError:
            with pytest.raises(ProviderUnavailable, match="closed connection") as caught:
                client.get_prediction(TASK["id"])
    assert "Expecting value" not in str(caught.value)


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/9.9 999\r\n",
        b"Content-Length: 20\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Content-Encoding: br, deflate\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Location: http://[::1\r\n",
        b"Set-Cookie: \xff=;=\r\n",
        b"Retry-After: \xb2\r\n",
        b"\r\n",
        b"5\r\n{},[]\r\n0\r\n\r\n",
        b'{"code":200,"data":{"id":"a","status":"created"}}',
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=30), max_size=8).map(b"".join))
def test_a_submit_with_any_answer_ends_as_an_error_or_a_prediction(answer: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer)

    with contextlib.suppress(SubmitOutcomeUnknown, AccountRefused, InputRefused):
        assert submit_to(script).id
