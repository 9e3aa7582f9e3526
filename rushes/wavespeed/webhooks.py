"""Verify and read webhooks of the provider. Pure: time is an argument.

Scheme (the provider's verifying-webhook page): `webhook-signature: v3,<hex>` is HMAC-SHA256 over
`webhook-id + "." + webhook-timestamp + "." + body`. The key is the text of the secret after `whsec_`, not
base64-decoded. The worked samples on that page do not verify, so the test vector here is our own.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta

from rushes.wavespeed.envelope import read_object
from rushes.wavespeed.errors import SignatureRefused, WebhookRefused
from rushes.wavespeed.predictions import ProviderPrediction, read_prediction

OLDEST_WEBHOOK = timedelta(seconds=300)
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with
_VERSION = "v3,"


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
