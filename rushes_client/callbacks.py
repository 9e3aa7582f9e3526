"""Verify callbacks: the Standard Webhooks scheme with a shared secret."""

import base64
import binascii
import hmac
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

TOLERANCE_SECONDS = 300.0
PREFIX = "whsec_"


class InvalidCallback(ValueError):
    """This did not come from Rushes, was changed on its way, or is too old. Answer with 400 and do nothing."""


class Callback(BaseModel):
    """A verified callback. The same `id` may arrive more than once: handle it once."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    type: str
    timestamp: datetime
    data: dict[str, Any]


def verify_callback(
    body: bytes,
    headers: Mapping[str, str],
    secret: str,
    *,
    tolerance: float = TOLERANCE_SECONDS,
    now: float | None = None,
) -> Callback:
    """Check the signature and age of a callback, and return what it says. Raises `InvalidCallback`.

    `body` is the body as it arrived, `secret` the endpoint's (`whsec_...`), `tolerance` in seconds.
    """
    given = {name.lower(): value for name, value in headers.items()}
    name, stamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not name or not re.fullmatch("[0-9]{1,12}", stamp):
        raise InvalidCallback("the headers webhook-id and webhook-timestamp are missing or wrong")
    if abs((time.time() if now is None else now) - int(stamp)) > tolerance:
        raise InvalidCallback("it is too old, or a clock is wrong")
    if not _is_signed(f"{name}.{stamp}.".encode() + body, given.get("webhook-signature", ""), secret):
        raise InvalidCallback("the signature is wrong")
    try:
        return Callback.model_validate({**_Body.model_validate_json(body).model_dump(), "id": name})
    except ValidationError as error:
        raise InvalidCallback("the body is not a callback") from error


class _Body(BaseModel):
    type: str
    timestamp: datetime
    data: dict[str, Any]


def _is_signed(content: bytes, signatures: str, secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCallback("the secret is not one of an endpoint: it begins with whsec_") from None
    expected = b"v1," + base64.b64encode(hmac.digest(key, content, "sha256"))
    # During a rotation there are two signatures. Bytes: text that is not ASCII would be an error.
    return any(hmac.compare_digest(each.encode(), expected) for each in signatures.split())
