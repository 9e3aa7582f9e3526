"""One attempt at a callback: begin it under its claim, post it under the URL guard, record what came of it."""

import random
import ssl
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from models import queries, transitions
from models.db.session import one_statement
from models.transitions.callbacks.attempts import Attempt, Outcome, Waits
from models.transitions.callbacks.deliveries import BROKEN_AFTER
from rushes.callbacks.body import write_body
from rushes.callbacks.guarded_requests import TOTAL_SECONDS, post_guarded
from rushes.callbacks.schedule import find_hold, find_wait
from rushes.callbacks.signatures import sign_headers
from rushes.errors import Permanent, Transient
from rushes.network import trust_authorities
from rushes.runtime import Runtime
from rushes.timing import read_retry_after
from rushes.wavespeed.transport import ExchangeError

LEASE = timedelta(seconds=3 * TOTAL_SECONDS)
"""Longer than an attempt and a slow name look-up. If the worker dies, the callback is sent again after this long."""
ANSWER_LIMIT = 1024

log = structlog.get_logger(__name__)


class CallbackDelayed(Transient):
    """The receiver did not take the callback; it is sent again."""


class CallbackGivenUp(Permanent):
    """The receiver has not taken the callback for three days."""


def deliver(runtime: Runtime, delivery_id: int, claim: int) -> str:
    """Send a claimed delivery, and return a line for Flower. Raises `CallbackDelayed` or `CallbackGivenUp`.

    At least once: if the process dies after the POST, it is sent again with the same id.
    """
    with one_statement(runtime.sessions) as session:
        attempt = transitions.attempts.begin_attempt(session, delivery_id, claim, lease=LEASE)
        if attempt is None:
            return "not sent: another step has it, or its endpoint is disabled"
        subject = queries.wanted_events.describe_subject(session, event_id=attempt.event_id, job_id=attempt.job_id)
    outcome, retry_after = _post(runtime, attempt, write_body(attempt, subject, base=runtime.settings.api_base))
    if outcome.status is not None and 200 <= outcome.status < 300:
        with one_statement(runtime.sessions) as session:
            transitions.attempts.record_success(session, attempt, outcome)
        return f"{attempt.kind} to {_name_host(attempt)}: {outcome.status} in {outcome.milliseconds} ms"
    return _fail(runtime, attempt, outcome, retry_after)


def _post(runtime: Runtime, attempt: Attempt, body: bytes) -> tuple[Outcome, timedelta | None]:
    settings = runtime.settings
    secrets = [each for each in (attempt.secret, attempt.old_secret) if each is not None]
    headers = sign_headers(attempt.webhook_id, body, at=int(time.time()), secrets=secrets)
    headers |= {"Content-Type": "application/json", "User-Agent": "rushes-callbacks"}
    began = time.monotonic()

    def measure() -> int:
        return round((time.monotonic() - began) * 1000)

    try:
        answer = post_guarded(attempt.url, body, headers, tls=_trust(settings.ca_file), allow=settings.url_allow)
    except (ExchangeError, ValueError) as error:
        return Outcome(None, measure(), None, str(error)), None
    words = answer.body[:ANSWER_LIMIT].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    wish = read_retry_after(answer.retry_after, now=datetime.now(UTC)) if answer.retry_after else None
    return Outcome(answer.status, measure(), words, None), wish


def _fail(runtime: Runtime, attempt: Attempt, outcome: Outcome, retry_after: timedelta | None) -> str:
    scale = runtime.settings.callback_time_scale
    wait = find_wait(attempt.attempts, random=random.random, retry_after=retry_after, scale=scale)
    hold = find_hold(attempt.failures + 1, broken_after=BROKEN_AFTER, retry_after=retry_after, scale=scale)
    with one_statement(runtime.sessions) as session:
        failed = transitions.attempts.record_failure(session, attempt, outcome, waits=Waits(wait, hold), scale=scale)
    words = f"{outcome.status or outcome.error}: {attempt.kind} to {_name_host(attempt)}"
    if failed is None:
        return f"recorded by another step: {words}"
    if failed.disabled_reason is not None:
        log.warning("endpoint.disabled", endpoint=str(attempt.endpoint_id), reason=failed.disabled_reason)
    if failed.is_given_up:
        log.warning("callback.given_up", delivery=attempt.webhook_id, endpoint=str(attempt.endpoint_id))
        raise CallbackGivenUp(words)
    raise CallbackDelayed(words)


def _name_host(attempt: Attempt) -> str:
    """Return the receiver's host: the rest of its URL may be secret."""
    return urlsplit(attempt.url).hostname or ""


@cache
def _trust(ca_file: Path | None) -> ssl.SSLContext:
    return trust_authorities(ca_file)
