"""The key and the webhook's address are shown to nobody."""

import logging
import traceback
from urllib.parse import quote

import pytest

from rushes.errors import RushesError
from rushes.wavespeed.answers import SubmitOutcomeUnknown
from tests.support.scripted_provider import KEY, MODEL, TASK, VALUES, check_at, client_of, envelope, submit_to
from tests.support.scripted_server import Peer, answering


@pytest.mark.parametrize("call", ["submit", "check", "page"])
@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_the_key_is_in_no_error_no_log_and_no_representation(
    call: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    script = answering((status, envelope({"error": {"message": f"bad {KEY}"}}, status, f"your key {KEY} is bad")))
    with client_of(script) as (client, server):
        calls = {
            "submit": lambda: client.submit(MODEL, VALUES),
            "check": lambda: client.get_prediction(TASK["id"]),
            "page": client.list_predictions,
        }
        with pytest.raises(RushesError) as caught:
            calls[call]()
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(client) + caplog.text
    assert KEY in server.requests[0].headers["authorization"]
    assert KEY not in shown
    assert "[key]" in str(caught.value)


def test_the_key_echoed_in_a_broken_status_line_is_not_shown() -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(f"who is {KEY}?\r\n\r\n".encode())

    with pytest.raises(SubmitOutcomeUnknown) as caught:
        submit_to(script)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_an_error_does_not_show_the_webhooks_secrets() -> None:
    token = "hu" + "sh"  # since a traceback quotes this source
    with (
        client_of(lambda peer: peer.read_request() and peer.reset()) as (client, _),
        pytest.raises(SubmitOutcomeUnknown) as caught,
    ):
        client.submit(MODEL, VALUES, webhook=f"https://rushes.example/hooks?token={token}")
    assert token not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("quoted", ["{url}", "{escaped}"])
def test_a_webhooks_token_that_the_provider_quotes_is_not_shown(quoted: str) -> None:
    token = "hu" + "sh"
    url = f"https://rushes.example/v1/hooks/wavespeed/{token}"
    words = f"cannot reach {quoted.format(url=url, escaped=quote(url, safe=''))}, sorry"
    with (
        client_of(answering((400, envelope(None, 400, words)))) as (client, _),
        pytest.raises(RushesError) as caught,
    ):
        client.submit(MODEL, VALUES, webhook=url)
    assert token not in "".join(traceback.format_exception(caught.value))
    assert "[token], sorry" in str(caught.value)
    assert token not in check_at(answering((200, envelope({**TASK, "error": words})))).error


def test_a_predictions_error_text_does_not_show_the_key() -> None:
    assert check_at(answering((200, envelope({**TASK, "error": f"key {KEY}"})))).error == "key [key]"
