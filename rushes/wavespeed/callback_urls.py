"""The token in the address that a webhook comes to. Pure: standard library only.

A token names its prediction and its job, so that both are known even where the row was lost by a database restore,
and carries a signature of ours, so that nobody can make one.
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
_SIGNATURE = 16  # bytes that are kept of the HMAC
_SHAPE = re.compile(r"[A-Za-z0-9_-]{64}")  # of 48 bytes; no other text stands for the same ones


class Origin(NamedTuple):
    """Which submission of ours bought a prediction."""

    prediction_id: UUID
    job_id: UUID


def make_token(prediction_id: UUID, job_id: UUID, *, secret: bytes) -> str:
    """64 characters that are fit for an address. Raises `ValueError` for an empty secret."""
    named = prediction_id.bytes + job_id.bytes
    return urlsafe_b64encode(named + _sign(named, secret)).decode()


def read_token(token: str, *, secret: bytes) -> Origin | None:
    """The prediction and the job that a token names; None for what was not made with this secret."""
    if not _SHAPE.fullmatch(token):
        return None
    raw = urlsafe_b64decode(token)
    named, signature = raw[:_NAMED], raw[_NAMED:]
    if not hmac.compare_digest(signature, _sign(named, secret)):
        return None
    return Origin(UUID(bytes=named[:16]), UUID(bytes=named[16:]))


def read_address(address: str, *, secret: bytes) -> Origin | None:
    """The prediction and the job that an address names, whatever public URL it was made with; None for any other."""
    path = re.split(r"[?#]", unquote(address), maxsplit=1)[0]
    _, found, token = path.rpartition(HOOK_PATH)
    return read_token(token, secret=secret) if found else None


@dataclass(frozen=True, slots=True)
class HookAddresses:
    """The addresses that the provider is given; `public_url` may have a path of its own."""

    public_url: str
    secret: bytes = field(repr=False)

    def make(self, prediction_id: UUID, job_id: UUID) -> str:
        """The address for the webhook of this prediction. It is a secret."""
        return f"{self.public_url.rstrip('/')}{HOOK_PATH}{make_token(prediction_id, job_id, secret=self.secret)}"


def _sign(named: bytes, secret: bytes) -> bytes:
    if not secret:
        raise ValueError("the secret of webhook tokens is empty")
    return hmac.digest(secret, named, hashlib.sha256)[:_SIGNATURE]
