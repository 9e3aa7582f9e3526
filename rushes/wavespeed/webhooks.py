"""Verify and read webhooks of the provider, and fetch the secret that they are signed with.

Scheme (the provider's verifying-webhook page): `webhook-signature: v3,<hex>` is HMAC-SHA256 over
`webhook-id + "." + webhook-timestamp + "." + body`. The key is the text of the secret after `whsec_`, not
base64-decoded. The worked samples on that page do not verify, so the test vector here is our own.
"""

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import structlog

from rushes.errors import RushesError
from rushes.wavespeed.answers import SignatureRefused, WebhookRefused
from rushes.wavespeed.envelope import read_object
from rushes.wavespeed.predictions import ProviderPrediction, read_prediction

OLDEST_WEBHOOK = timedelta(seconds=300)
WAIT_SECONDS = 2.0
"""The longest that a caller waits for the provider's answer."""
PAUSE_SECONDS = 60.0
"""The shortest time between two fetches, so that forged webhooks cause almost no requests to the provider."""
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
_VERSION = "v3,"

log = structlog.get_logger(__name__)


def verify_webhook(*, secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Check the signature and the age. Returns the `webhook-id`, which is signed too.

    Raises `WebhookRefused` for a missing header or a timestamp more than 300 seconds before or after `now` (aware).
    Raises its subclass `SignatureRefused` if the signature does not match. Raises `ValueError` for an empty secret,
    because anybody could sign with it.
    """
    key = secret.removeprefix(_SECRET_PREFIX).encode()
    if not key:
        raise ValueError("the webhook secret is empty")
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id, stamp, signatures = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (webhook_id and stamp and signatures):
        raise WebhookRefused("a webhook needs the headers webhook-id, webhook-timestamp and webhook-signature")
    _check_age(stamp, now)
    expected = hmac.new(key, f"{webhook_id}.{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    if not _is_among(expected, signatures):
        raise SignatureRefused("the webhook's signature does not match")
    return webhook_id


def read_webhook(body: bytes, *, secret: str = "") -> ProviderPrediction:
    """Return the prediction in a webhook's body, which has no envelope. Raises `WebhookRefused`."""
    if prediction := read_prediction(read_object(body), secret=secret):
        return prediction
    raise WebhookRefused("the webhook's body holds no prediction")


def _check_age(stamp: str, now: datetime) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise WebhookRefused("webhook-timestamp must be Unix seconds")
    if abs(now.timestamp() - int(stamp)) > OLDEST_WEBHOOK.total_seconds():
        raise WebhookRefused("the webhook is too old, or a clock is wrong")


def _is_among(expected: str, signatures: str) -> bool:
    # A sender that rotates its secret may list several signatures, separated by spaces.
    wanted = (_VERSION + expected).encode()
    return any(hmac.compare_digest(wanted, each.encode()) for each in signatures.split())


class WebhookSecret:
    """The secret, which each process fetches once, and again if it no longer matches.

    The fetch runs in its own thread, so a caller waits for a moment at most, however slow the provider is. Any number
    of threads may use it; they share one fetch. `fetch` asks the provider and may raise.
    """

    def __init__(
        self,
        fetch: Callable[[], str],
        *,
        wait_seconds: float = WAIT_SECONDS,
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._wait_seconds = wait_seconds
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._answered = threading.Event()
        self._answered.set()
        self._secret: str | None = None

    def find(self) -> str | None:
        """Return the secret, or None if the provider does not return it for now."""
        if self._secret is None:
            self._ask()
        return self._secret

    def find_other_than(self, failed: str) -> str | None:
        """Return the secret that replaced `failed`, which no longer matches; None if there is none yet."""
        if self._secret == failed:
            self._ask()
        return self._secret if self._secret != failed else None

    def _ask(self) -> None:
        with self._lock:
            if self._answered.is_set() and self._clock() - self._asked_at >= self._pause_seconds:
                self._asked_at = self._clock()
                self._answered.clear()
                threading.Thread(target=self._run, name="rushes-webhook-secret", daemon=True).start()
        self._answered.wait(self._wait_seconds)

    def _run(self) -> None:
        try:
            self._secret = self._fetch()
        except RushesError as error:
            log.warning("webhook.secret_unknown", error=str(error))
        except Exception:
            log.exception("webhook.secret_unknown")
        finally:
            self._answered.set()
