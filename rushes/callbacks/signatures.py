"""Sign callbacks as Standard Webhooks says (standardwebhooks.com), with HMAC-SHA256. Pure, but for new secrets."""

import hmac
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def make_secret() -> str:
    """Return a new secret in the form in which receivers get it."""
    return _PREFIX + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def sign_headers(webhook_id: str, body: bytes, *, at: int, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of a callback sent at the Unix time `at`, with a signature by each secret."""
    signed = f"{webhook_id}.{at}.".encode() + body
    signatures = (hmac.digest(b64decode(each.removeprefix(_PREFIX)), signed, "sha256") for each in secrets)
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{b64encode(each).decode()}" for each in signatures),
    }
