"""The token in the webhook address. Pure: standard library only.

A token names its prediction and its job, so we know both even if a database restore lost the row. We sign it, so
nobody else can make one.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote
from uuid import UUID

HOOK_PATH = "/v1/hooks/wavespeed/"

_NAMED = 32  # bytes of the two ids
_SIGNATURE = 16  # bytes of the HMAC that we keep
_SHAPE = re.compile(r"[A-Za-z0-9_-]{64}")  # encodes 48 bytes; no other text encodes the same bytes


class Origin(NamedTuple):
    """The submission of ours that bought a prediction."""

    prediction_id: UUID
    job_id: UUID


def make_token(prediction_id: UUID, job_id: UUID, *, secret: bytes) -> str:
    """Return 64 URL-safe characters. Raises `ValueError` for an empty secret."""
    named = prediction_id.bytes + job_id.bytes
    return urlsafe_b64encode(named + _sign(named, secret)).decode()


def read_token(token: str, *, secret: bytes) -> Origin | None:
    """Return the prediction and the job that a token names, or None if it was not made with this secret."""
    if not _SHAPE.fullmatch(token):
        return None
    raw = urlsafe_b64decode(token)
    named, signature = raw[:_NAMED], raw[_NAMED:]
    if not hmac.compare_digest(signature, _sign(named, secret)):
        return None
    return Origin(UUID(bytes=named[:16]), UUID(bytes=named[16:]))


def read_address(address: str, *, secret: bytes) -> Origin | None:
    """Return the prediction and the job that an address names, whatever its public URL; None if it names none."""
    path = re.split(r"[?#]", unquote(address), maxsplit=1)[0]
    _, found, token = path.rpartition(HOOK_PATH)
    return read_token(token, secret=secret) if found else None


@dataclass(frozen=True, slots=True)
class HookAddresses:
    """The webhook addresses that we give to the provider. `public_url` may have a path of its own."""

    public_url: str
    secret: bytes = field(repr=False)

    def make(self, prediction_id: UUID, job_id: UUID) -> str:
        """Return the webhook address of this prediction. It is a secret."""
        return f"{self.public_url.rstrip('/')}{HOOK_PATH}{make_token(prediction_id, job_id, secret=self.secret)}"


def _sign(named: bytes, secret: bytes) -> bytes:
    if not secret:
        raise ValueError("the secret of webhook tokens is empty")
    return hmac.digest(secret, named, hashlib.sha256)[:_SIGNATURE]
