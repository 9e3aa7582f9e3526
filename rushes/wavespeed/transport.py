"""Requests over bounded connections: one whole answer or `ExchangeError`. Never retries, never follows a redirect."""

import http.client
import ssl
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from rushes.wavespeed.connections import (
    MAX_ANSWER_BYTES,
    BoundedConnection,
    BoundedTLSConnection,
    Exchange,
    underway,
)

_FAULTS = (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError)


class ExchangeError(Exception):
    """No whole answer came. `Exchange.sent` shows whether the other side may have seen the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer with any status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _BoundedPool(urllib3.HTTPConnectionPool):
    ConnectionCls = BoundedConnection


class _BoundedTLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = BoundedTLSConnection


class _Adapter(HTTPAdapter):
    """Never retries. All its connections are bounded and share one TLS context, which is expensive to load."""

    def __init__(self, *, pool_size: int, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = {"http": _BoundedPool, "https": _BoundedTLSPool}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


def trust_public_authorities() -> ssl.SSLContext:
    """Return a TLS context that checks names and chains against the authorities that `requests` ships with."""
    context = create_urllib3_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None, so that `requests` follows no redirect: it would read the redirect's body without our limits."""


class Transport:
    """Sends repeatable requests over kept connections, and every other request over its own connection."""

    def __init__(self, *, auth: AuthBase, headers: Mapping[str, str], pool_size: int, tls: ssl.SSLContext) -> None:
        self._auth = auth
        self._headers = dict(headers)
        self._tls = tls
        self._kept = _Adapter(pool_size=pool_size, tls=tls)
        self._threads = threading.local()

    def send(self, request: requests.Request, exchange: Exchange) -> Answer:
        """Send over a kept connection, if one is alive. Raises `ExchangeError`."""
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = self._new_session(self._kept)
        return _run(session, request, exchange)

    def send_once(self, request: requests.Request, exchange: Exchange) -> Answer:
        """Send over a new connection and close it, so that no dying connection loses it. Raises `ExchangeError`."""
        with self._new_session(_Adapter(pool_size=1, tls=self._tls)) as session:
            session.headers["Connection"] = "close"
            return _run(session, request, exchange)

    def close(self) -> None:
        """Close the kept connections."""
        self._kept.close()

    def _new_session(self, adapter: _Adapter) -> requests.Session:
        session = _Session()
        session.trust_env = False
        session.auth = self._auth
        session.headers.update(self._headers)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session


def _run(session: requests.Session, request: requests.Request, exchange: Exchange) -> Answer:
    handled = sys.exception()
    waits = (exchange.connect, exchange.read)
    try:
        prepared = session.prepare_request(request)
        with (
            underway(exchange),
            session.send(prepared, timeout=waits, allow_redirects=False, stream=True) as response,
        ):
            return Answer(response.status_code, response.headers, _read_body(response))
    except _FAULTS as error:
        # Report the root, not the wrappers: they hold the URL in their text and the key in their request. Chain only
        # errors of this machine: any other may quote the other side, which may quote the key.
        root = _root_of(error, handled)
        raise ExchangeError(_words_of(root)) from (root if isinstance(root, OSError) else None)


def _read_body(response: requests.Response) -> bytes:
    body = bytearray()
    for piece in response.iter_content(64 * 1024):
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise OSError(f"the answer unpacks to more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)


def _root_of(error: BaseException, handled: BaseException | None) -> BaseException:
    """Return the first cause of an error, but not the error that the caller was already handling."""
    while (cause := error.__cause__ or error.__context__) and cause is not handled:
        error = cause
    return error


def _words_of(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
