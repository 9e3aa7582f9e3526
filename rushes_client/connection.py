"""Requests to the HTTP API: JSON in, JSON out. Every failure becomes an error that says what to do."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit
from uuid import uuid4

import requests
import urllib3

from rushes_client.errors import UNSURE, AnswerLost, ApiAway, ClientError, blame_proxy, find_error, find_object

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PUSH_SECONDS = 300.0
"""A batch of 100,000 jobs is one transaction."""
PAGE = 500
USER_AGENT = "rushes-client"

Json = dict[str, Any]


class Connection(contextlib.AbstractContextManager["Connection"]):
    """A connection to the API at `url`. It adds the `key` and `headers` to each request and repeats none; the caller
    decides. Each POST has an Idempotency-Key.

    `url` may contain a user and password; the attribute `url` and messages omit them. `ca_file` replaces the public
    certificate authorities. Threads may share it.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ca_file: Path | str | None = None,
    ) -> None:
        self.is_closed = False
        self._session = requests.Session()
        self._session.trust_env = False  # our own server needs neither a proxy nor .netrc
        self._session.headers.update({"Accept": "application/json", "User-Agent": USER_AGENT})
        self._session.verify = str(ca_file) if ca_file else True
        self._session.auth = requests.utils.get_auth_from_url(url) if urlsplit(url).username else None
        self._session.headers.update(headers or {})
        if key is not None and (self._session.auth or "Authorization" in self._session.headers):
            self._session.headers["X-Api-Key"] = key  # a proxy takes the other header for its own login
        elif key is not None:
            self._session.headers["Authorization"] = f"Bearer {key}"
        parts = urlsplit(url.rstrip("/"))
        self.url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Who follows events in another thread stops with the next of them."""
        self.is_closed = True
        self._session.close()

    def get(self, *path: str, **query: Any) -> Json:
        """GET `/v1/<path>`, with its parts quoted. Raises `Declined` or `ApiAway`."""
        return self._ask("GET", path, params=query)

    def post(
        self, *path: str, body: Json | None = None, seconds: float = READ_SECONDS, once: str | None = None
    ) -> Json:
        """POST in the same way. Raises `AnswerLost` if the request may have been carried out.

        A request that is repeated with the same `once` makes nothing twice, and gets the first answer.
        """
        headers = {"Idempotency-Key": once or make_once()}
        if body is None:
            return self._ask("POST", path, seconds=seconds, headers=headers)
        # The body is sent in blocks, so that CONNECT_SECONDS limits each block, not the whole body.
        content = io.BytesIO(json.dumps(body, allow_nan=False).encode())
        headers["Content-Type"] = "application/json"
        return self._ask("POST", path, seconds=seconds, headers=headers, data=content)

    def delete(self, *path: str) -> Json:
        """DELETE in the same way. Raises the same errors as `post`."""
        return self._ask("DELETE", path)

    def send(self, *path: str, content: bytes, headers: Mapping[str, str], once: str | None = None) -> Json:
        """POST bytes with these headers, which hold their Content-Type."""
        named = {"Idempotency-Key": once or make_once(), **headers}
        return self._ask("POST", path, seconds=PUSH_SECONDS, headers=named, data=io.BytesIO(content))

    def get_readiness(self) -> Json:
        """Return the answer of `/readyz`, ready or not. Raises `ApiAway` if nothing answers."""
        return self._read(self.open("GET", "/readyz"))

    def list_items(self, *path: str, limit: int | None, **query: Any) -> Iterator[Json]:
        """Yield the items of a list, page by page, up to `limit`; None yields all of them."""
        cursor, left = None, limit
        while left is None or left > 0:
            page = self.get(*path, **query, cursor=cursor, limit=min(PAGE, left) if left is not None else PAGE)
            yield from page["items"]
            cursor = page.get("next_cursor")
            left = left - len(page["items"]) if left is not None else None
            if cursor is None:
                return

    def open_file(self, path: str, *, start: int = 0) -> contextlib.AbstractContextManager[requests.Response]:
        """Open the answer to a GET for a file from byte `start` on (206), or whole (200). Raises as `get` does."""
        return self.open_stream(path, headers={"Range": f"bytes={start}-"} if start else {})

    @contextlib.contextmanager
    def open_stream(self, path: str, *, seconds: float = READ_SECONDS, **request: Any) -> Iterator[requests.Response]:
        """Open the answer to a GET that is read in pieces. `seconds` is the longest wait for the next piece."""
        answer = self.open("GET", path, seconds=seconds, stream=True, **request)
        with contextlib.closing(answer):
            if error := find_error(answer, self.url, changes=False):
                raise error
            yield answer

    def open(self, method: str, path: str, *, seconds: float = READ_SECONDS, **request: Any) -> requests.Response:
        """Send one request and return its answer, whatever its status. Raises `ClientError` without one."""
        try:
            return self._session.request(
                method, self.url + path, timeout=(CONNECT_SECONDS, seconds), allow_redirects=False, **request
            )
        except requests.RequestException as error:
            raise self._explain(error, changes=method != "GET") from error

    def _ask(self, method: str, path: Sequence[str], *, seconds: float = READ_SECONDS, **request: Any) -> Json:
        address = "".join(f"/{quote(part, safe='')}" for part in ("v1", *path))
        answer = self.open(method, address, seconds=seconds, **request)
        if error := find_error(answer, self.url, changes=method != "GET"):
            raise error
        return self._read(answer)

    def _read(self, answer: requests.Response) -> Json:
        found = find_object(answer)
        if not found:
            raise blame_proxy(answer, self.url)
        return found

    def _explain(self, error: requests.RequestException, *, changes: bool) -> ClientError:
        if not isinstance(
            error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        ):
            return ClientError(
                f"the request to {self.url} failed: {error}", hint="check RUSHES_URL, the address of the API"
            )
        if not changes or _never_connected(error):
            hint = "start it with `rushes up`, or set RUSHES_URL to where it runs"
            return ApiAway(f"the API at {self.url} cannot be reached", hint=hint)
        return AnswerLost(f"the API at {self.url} gave no answer: it may have carried out the request", hint=UNSURE)


def make_once() -> str:
    """Return a new key for a request that may be repeated."""
    return f'"{uuid4()}"'


def _never_connected(error: requests.RequestException) -> bool:
    """Return whether the request was never sent, so that nothing can have been carried out."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError)
