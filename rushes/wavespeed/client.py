"""The provider's REST API, version 3: one method per request, one error per decision (`rushes.wavespeed.answers`)."""

import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from rushes.network import find_proxy, trust_authorities
from rushes.wavespeed.answers import (
    FILE_REFUSED,
    Call,
    InputRefused,
    NotSent,
    ProviderUnavailable,
    SubmitOutcomeUnknown,
    error_for,
)
from rushes.wavespeed.envelope import Reply, clean_words, read_amount, read_reply
from rushes.wavespeed.predictions import (
    PredictionPage,
    ProviderPrediction,
    find_prediction,
    read_page,
    read_prediction,
)
from rushes.wavespeed.tickets import read_upload_ticket
from rushes.wavespeed.transport import Exchange, ExchangeError, ProviderRequest, Transport

API_PREFIX = "/api/v3"
MAX_PAGE_SIZE = 100
_MODEL_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `connect` bounds each address and the TLS handshake, `read` bounds each wait, the totals bound all.

    Submits use `submit_total` alone, with no limit on a single wait: a late answer is worth more than an unconfirmed
    submission. Only the resolver bounds a name look-up, because we cannot cut it short.
    """

    connect: float = 5
    read: float = 30
    total: float = 30
    submit_total: float = 60
    upload_total: float = 120

    def __post_init__(self) -> None:
        if min(self.connect, self.read, self.total, self.submit_total, self.upload_total) <= 0:
            raise ValueError("every timeout must be above 0 seconds")


class WaveSpeedClient:
    """One account at WaveSpeed. Any number of threads may use it. Create it after a fork, not before.

    The client never repeats or redirects a call; after an error the caller decides what to do. It ignores `.netrc`, and
    reads from the environment only the proxy for uploads. `pool_size` is the number of connections kept open for
    checks: one per thread.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeouts: Timeouts = Timeouts(),
        pool_size: int = 10,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
    ) -> None:
        """`tls` replaces the public certificate authorities. Raises `ValueError` for an unusable URL or key."""
        if not api_key or not all("!" <= char <= "~" for char in api_key):
            raise ValueError("the API key must be printable ASCII without spaces")
        self._base = _clean_base(base_url)
        self._key = api_key
        self._timeouts = timeouts
        self._tls = tls or trust_authorities()
        self._transport = Transport(
            self._base + API_PREFIX,
            headers={"Accept": "application/json", "User-Agent": "rushes", "Authorization": f"Bearer {api_key}"},
            pool_size=pool_size,
            tls=self._tls,
            proxy=proxy,
        )

    def __repr__(self) -> str:
        return f"WaveSpeedClient({self._base!r})"

    @contextmanager
    def connected(self) -> Iterator[HTTPConnection]:
        """Yield an open connection for one `submit`. If it stays unused, the next one gets it. Raises `NotSent`.

        So a slow name server, network or TLS handshake costs time only before a submission counts as posted.
        """
        try:
            connection = self._transport.open(self._begin(self._timeouts.total, read=self._timeouts.read))
        except ExchangeError as error:
            raise NotSent(self._describe("no connection for the submit", error)) from error.__cause__
        opened_at = time.monotonic()
        try:
            yield connection
        finally:
            self._transport.keep_unused(connection, since=opened_at)

    def submit(
        self,
        video_model_id: str,
        values: Mapping[str, Any],
        *,
        connection: HTTPConnection | None = None,
        send_before: float | None = None,
        webhook: str | None = None,
    ) -> ProviderPrediction:
        """Buy one prediction. The request is sent at most once, over its own connection.

        The provider reports the end of the render to the address `webhook`. `send_before` is an instant of
        `time.monotonic()`, checked right before the first byte is sent. Raises `NotSent` if nothing left this machine,
        `AccountRefused` or `InputRefused` if the provider declined (nothing was bought), and `SubmitOutcomeUnknown` for
        any other answer that is not an accepted prediction.
        """
        body = json.dumps(dict(values), allow_nan=False)
        query = f"?{urlencode({'webhook': webhook})}" if webhook else ""
        request = ProviderRequest("POST", _model_path(video_model_id) + query, body)
        total = self._timeouts.submit_total
        exchange = self._begin(total, read=total, send_before=send_before)
        try:
            answer = self._transport.send_once(request, exchange, connection=connection)
        except ExchangeError as error:
            if not exchange.sent:
                raise NotSent(
                    self._describe("the submit was not sent", error), is_late=exchange.late
                ) from error.__cause__
            raise SubmitOutcomeUnknown(
                self._describe("the submit was sent, but not answered", error)
            ) from error.__cause__
        reply = read_reply(answer, secret=self._key, now=datetime.now(UTC))
        if prediction := find_prediction(reply, secret=self._key):
            return replace(prediction, video_model_id=prediction.video_model_id or video_model_id)
        raise error_for(Call.SUBMIT, reply, ours=body)

    def get_prediction(self, provider_id: str) -> ProviderPrediction:
        """Check one prediction.

        Raises `PredictionNotFound`, `AccountRefused`, or `ProviderUnavailable` for any answer that is not about it.
        """
        reply = self._check(ProviderRequest("GET", f"/predictions/{quote(provider_id, safe='')}/result"))
        found = find_prediction(reply, secret=self._key)
        if not found and reply.is_success:
            found = read_prediction(reply.data, secret=self._key, default_id=provider_id)
        if not found or not (found.status_text if reply.is_success else found.has_known_status):
            raise error_for(Call.CHECK, reply)
        if found.id != provider_id:
            raise ProviderUnavailable("WaveSpeed answered about a different prediction than the requested one")
        return found

    def list_predictions(
        self,
        *,
        page: int = 1,
        page_size: int = MAX_PAGE_SIZE,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        include_inputs: bool = False,
    ) -> PredictionPage:
        """Return one page of the account's predictions of the past 7 days, newest first.

        The list includes predictions sent from the website. The bounds are aware datetimes, widened to whole
        milliseconds. `include_inputs` is not documented, but the provider's own CLI uses it.
        Raises `AccountRefused` and `ProviderUnavailable`.
        """
        if page < 1 or not 1 <= page_size <= MAX_PAGE_SIZE:
            raise ValueError(f"page must be at least 1 and page_size 1 to {MAX_PAGE_SIZE}")
        wanted = {
            "page": page,
            "page_size": page_size,
            "created_after": _rfc3339(created_after) if created_after else None,
            "created_before": _rfc3339(created_before, up=True) if created_before else None,
            "include_inputs": include_inputs or None,
        }
        body = json.dumps({key: value for key, value in wanted.items() if value is not None})
        reply = self._check(ProviderRequest("POST", "/predictions", body))
        if found := read_page(reply, secret=self._key, page_size=page_size):
            return found
        raise error_for(Call.ASK, reply)

    def upload(self, content: bytes, *, name: str, content_type: str) -> str:
        """Send a file to the provider, and return its address there. The provider keeps it for seven days.

        Raises `InputRefused` if the provider refuses this file, `AccountRefused`, or `ProviderUnavailable`. Uploading
        twice costs nothing.
        """
        asked = json.dumps({"filename": name, "size": len(content), "content_type": content_type})
        reply = self._check(ProviderRequest("POST", "/media/uploads", asked))
        ticket = read_upload_ticket(reply)
        if ticket is None:
            raise error_for(Call.UPLOAD, reply, ours=asked)
        exchange = self._begin(self._timeouts.upload_total, read=self._timeouts.upload_total)
        # The storage is another host and must not see the key.
        proxy = find_proxy(ticket.origin)
        host = Transport(ticket.origin, headers=ticket.headers, pool_size=0, tls=self._tls, proxy=proxy)
        try:
            answer = host.send_once(ProviderRequest("PUT", ticket.target, content), exchange)
        except ExchangeError as error:
            raise ProviderUnavailable(self._describe("the file could not be sent", error)) from error.__cause__
        if 200 <= answer.status < 300:
            return ticket.address
        refused = InputRefused if answer.status in FILE_REFUSED else ProviderUnavailable
        raise refused(f"WaveSpeed's storage answered {answer.status} to a file of {len(content):,} bytes")

    def get_balance(self) -> Decimal:
        """Return the dollars left in the account. Raises `AccountRefused` and `ProviderUnavailable`."""
        reply = self._check(ProviderRequest("GET", "/balance"), exact_numbers=True)
        data = reply.data if reply.is_success and isinstance(reply.data, dict) else {}
        balance = read_amount(data.get("balance"))
        if balance is None:
            raise error_for(Call.ASK, reply)
        return balance

    def get_webhook_secret(self) -> str:
        """Return the secret that webhooks are signed with. Raises `AccountRefused` and `ProviderUnavailable`."""
        reply = self._check(ProviderRequest("GET", "/webhook/secret"))
        secret = reply.data.get("secret") if isinstance(reply.data, dict) else reply.data
        if not reply.is_success or not isinstance(secret, str) or not secret:
            raise error_for(Call.ASK, reply)
        return secret

    def close(self) -> None:
        """Close the kept connections. A later call opens new ones."""
        self._transport.close()

    def _begin(self, total: float, *, read: float, send_before: float | None = None) -> Exchange:
        deadline = time.monotonic() + total
        return Exchange(deadline=deadline, connect=self._timeouts.connect, read=read, send_before=send_before)

    def _check(self, request: ProviderRequest, *, exact_numbers: bool = False) -> Reply:
        """Send a request that is safe to repeat."""
        exchange = self._begin(self._timeouts.total, read=self._timeouts.read)
        try:
            answer = self._transport.send(request, exchange)
        except ExchangeError as error:
            raise ProviderUnavailable(self._describe("no answer from WaveSpeed", error)) from error.__cause__
        return read_reply(answer, secret=self._key, now=datetime.now(UTC), exact_numbers=exact_numbers)

    def _describe(self, what: str, error: ExchangeError) -> str:
        # Never chained itself: its text may quote the other side, and thus the key.
        return f"{what}: {clean_words(str(error), self._key)}"


def _clean_base(base_url: str) -> str:
    base = base_url.strip().rstrip("/").removesuffix(API_PREFIX)
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("the base URL must look like https://api.wavespeed.ai")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the base URL must hold neither user nor query")
    return base


def _model_path(video_model_id: str) -> str:
    if not _MODEL_ID.fullmatch(video_model_id):
        raise ValueError(f"not a video model id: {video_model_id!r}")
    return f"/{video_model_id}"


def _rfc3339(moment: datetime, *, up: bool = False) -> str:
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    if up:
        moment += timedelta(microseconds=-moment.microsecond % 1_000)
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
