"""Requests to URLs that a caller chose. Callbacks use them: only to public addresses, and within limits.

A caller must not reach what only this machine reaches: its own ports, the private network, a cloud's metadata service.
The name is resolved once, and the connection goes to an address that was checked. A redirect is not followed.
"""

import re
import ssl
import time
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from rushes.network import AllowedPlaces
from rushes.wavespeed.transport import Answer, Exchange, ExchangeError, ProviderRequest, Transport

CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 15.0
ANSWER_BYTES = 64 * 1024
_WORDS_LIMIT = 200


def check_url(url: str) -> SplitResult:
    """Return the parts of a URL that may be called if its address may. Raises `ValueError` with the reason."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or not re.fullmatch("[!-~]+", url):
        raise ValueError("must be printable ASCII without spaces, and hold no user and no password")
    return parts


def post_guarded(url: str, body: bytes, headers: Mapping[str, str], *, tls: ssl.SSLContext, allow: str = "") -> Answer:
    """Post a body once and return the answer, whatever its status. `allow` is `RUSHES_URL_ALLOW`.

    Only the first `ANSWER_BYTES` of its body are read. Raises `ValueError` for a URL that `check_url` refuses, and
    `ExchangeError` if no answer came in time. The error says why, in words that the other side did not choose.
    """
    parts, places = check_url(url), AllowedPlaces.parse(allow)
    exchange = Exchange(
        deadline=time.monotonic() + TOTAL_SECONDS,
        connect=CONNECT_SECONDS,
        read=TOTAL_SECONDS,
        admit=lambda address: places.admit(parts.hostname or "", address),
        max_bytes=ANSWER_BYTES,
        is_cut=True,
    )
    transport = Transport(f"{parts.scheme}://{parts.netloc}", headers=headers, pool_size=0, tls=tls)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        return transport.send_once(ProviderRequest("POST", target, body), exchange)
    except ExchangeError as error:
        raise ExchangeError(_explain(error, exchange)) from None


def _explain(error: ExchangeError, exchange: Exchange) -> str:
    if exchange.expired or error.__cause__ is not None:  # of the total time, or of this machine
        return str(error)[:_WORDS_LIMIT]
    return "the answer is not valid HTTP" if exchange.sent else "the name of the host is not valid"
