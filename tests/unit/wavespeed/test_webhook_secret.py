"""The secret of webhooks is asked for once, and again when it fits no more, and nobody waits long for it."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rushes.errors import Unavailable
from rushes.wavespeed.webhooks import WebhookSecret

PATIENCE = 20.0


class Provider:
    """What the provider answers, in turn; the last answer stands. A callable is called, an error raised."""

    def __init__(self, *answers: str | Exception | Callable[[], str]) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.now = 1_000.0

    def fetch(self) -> str:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else answer()

    def open(self, *, wait_seconds: float = PATIENCE) -> WebhookSecret:
        return WebhookSecret(self.fetch, wait_seconds=wait_seconds, clock=lambda: self.now)


def test_the_secret_is_asked_for_once() -> None:
    provider = Provider("whsec_a")
    secret = provider.open()
    assert [secret.find() for _ in range(3)] == ["whsec_a"] * 3
    assert provider.asked == 1


@pytest.mark.parametrize("failure", [Unavailable("away"), RuntimeError("a bug")])
def test_a_provider_that_does_not_tell_is_asked_again_after_a_minute(failure: Exception) -> None:
    provider = Provider(failure, "whsec_a")
    secret = provider.open()
    assert [secret.find(), secret.find()] == [None, None]
    provider.now += 59.9
    assert (secret.find(), provider.asked) == (None, 1)
    provider.now += 0.1
    assert (secret.find(), provider.asked) == ("whsec_a", 2)


def test_a_secret_that_fits_no_more_is_replaced() -> None:
    provider = Provider("whsec_a", "whsec_b")
    secret = provider.open()
    assert secret.find() == "whsec_a"
    provider.now += 60
    assert secret.find_other_than("whsec_a") == "whsec_b"
    assert (secret.find(), provider.asked) == ("whsec_b", 2)


def test_forged_webhooks_ask_the_provider_once_a_minute() -> None:
    provider = Provider("whsec_a")
    secret = provider.open()
    secret.find()
    for _ in range(100):
        assert secret.find_other_than("whsec_a") is None
        provider.now += 1
    assert provider.asked == 2


def test_a_late_caller_gets_the_secret_that_another_has_found() -> None:
    provider = Provider("whsec_b")
    secret = provider.open()
    secret.find()
    assert secret.find_other_than("whsec_a") == "whsec_b"
    assert provider.asked == 1


def test_callers_at_once_share_one_question() -> None:
    release = threading.Event()
    provider = Provider(lambda: "whsec_a" if release.wait(PATIENCE) else "")
    secret = provider.open()
    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(secret.find) for _ in range(8)]
        release.set()
    assert [each.result() for each in found] == ["whsec_a"] * 8
    assert provider.asked == 1


def test_a_provider_that_hangs_delays_no_caller_and_its_late_answer_counts() -> None:
    release = threading.Event()
    provider = Provider(lambda: "whsec_a" if release.wait(PATIENCE) else "")
    secret = provider.open(wait_seconds=0.01)
    began = time.monotonic()
    assert secret.find() is None
    assert time.monotonic() - began < PATIENCE / 2
    release.set()
    deadline = time.monotonic() + PATIENCE
    while secret.find() is None:
        assert time.monotonic() < deadline
    assert provider.asked == 1
