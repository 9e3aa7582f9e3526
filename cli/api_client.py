"""Client of the HTTP API: JSON in, JSON out. Every failure becomes an error that says what to do."""

import contextlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit
from uuid import uuid4

import requests
import urllib3

from rushes.errors import Problem
from rushes.network import hide_login
from rushes.settings import Settings, load_settings
from stack.errors import BAD_INPUT, FAILED, CommandError, ServiceAway

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
PUSH_SECONDS = 300.0
"""A batch of 100,000 jobs is one transaction."""
PAGE = 500

_AWAY = frozenset({502, 503, 504})
Json = dict[str, Any]


class Declined(CommandError):
    """The API understood the request and refused it. `problems` name the fields, `status` is the HTTP status."""

    def __init__(self, status: int, detail: str, *, problems: Sequence[Problem] = ()) -> None:
        errors = [str(problem) for problem in problems] or [detail]
        super().__init__(*errors, exit_code=BAD_INPUT if status < 500 else FAILED, hint=_HINTS.get(status, ""))
        self.status = status
        self.problems = problems


class AnswerLost(ServiceAway):
    """The request was sent and no answer arrived, so it may have been carried out."""


_UNSURE = "check whether it was carried out before you repeat it"
_LOGIN = "set RUSHES_API_HEADERS, for example to `Authorization: Bearer ...`"
_HINTS = {
    401: "set RUSHES_API_KEY to a key of this API; where `rushes up` runs, the key is in `api.key` in its data folder",
    403: "`rushes key create` makes a key with other scopes",
    404: "`rushes batch list` and `rushes job list` show what exists",
    413: "split the file into several batches",
    500: "see the API's log",
}


class ApiClient(contextlib.AbstractContextManager["ApiClient"]):
    """One connection to the API at `url`. It adds the `key` and `headers` to each request and repeats none; the caller
    decides. Each POST has an Idempotency-Key.

    `url` may contain a user and password; the attribute `url` and messages omit them. `ca_file` replaces the public
    certificate authorities.
    """

    def __init__(
        self, url: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, ca_file: Path | None = None
    ) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # our own server needs neither a proxy nor .netrc
        self._session.headers.update({"Accept": "application/json", "User-Agent": "rushes-cli"})
        self._session.verify = str(ca_file) if ca_file else True
        self._session.auth = requests.utils.get_auth_from_url(url) if urlsplit(url).username else None
        self._session.headers.update(headers or {})
        if key is not None and (self._session.auth or "Authorization" in self._session.headers):
            self._session.headers["X-Api-Key"] = key  # a proxy takes the other header for its own login
        elif key is not None:
            self._session.headers["Authorization"] = f"Bearer {key}"
        self.url = hide_login(url.rstrip("/"))

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, *path: str, **query: Any) -> Json:
        """GET `/v1/<path>`, with its parts quoted. Raises `Declined` or `ServiceAway`."""
        return self._ask("GET", path, params=query)

    def post(
        self, *path: str, body: Json | None = None, seconds: float = READ_SECONDS, once: str | None = None
    ) -> Json:
        """POST in the same way. Raises `AnswerLost` if the request may have been carried out.

        A request that is repeated with the same `once` makes nothing twice, and gets the first answer.
        """
        return self._ask("POST", path, body=body, seconds=seconds, headers={"Idempotency-Key": once or make_once()})

    def delete(self, *path: str) -> Json:
        """DELETE in the same way. Raises the same errors as `post`."""
        return self._ask("DELETE", path)

    def upload(self, content: bytes, *, content_type: str) -> Json:
        """POST a file. Raises the same errors as `post`. Repeating it changes nothing."""
        return self._ask(
            "POST", ("uploads",), data=content, headers={"Content-Type": content_type}, seconds=PUSH_SECONDS
        )

    def get_readiness(self) -> Json:
        """Return the answer of `/readyz`, ready or not. Raises `ServiceAway` if nothing answers."""
        return _read_object(self._send("GET", "/readyz", seconds=READ_SECONDS), self.url)

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

    @contextlib.contextmanager
    def download(self, path: str, *, start: int = 0) -> Iterator[requests.Response]:
        """Open the answer to a GET for a file from byte `start` on (206), or whole (200). Raises as `get` does."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        answer = self._send("GET", path, seconds=READ_SECONDS, stream=True, headers=headers)
        with contextlib.closing(answer):
            if answer.status_code not in (requests.codes.ok, requests.codes.partial):
                raise _error_of(answer, self.url)
            yield answer

    def _ask(self, method: str, path: Sequence[str], *, seconds: float = READ_SECONDS, **request: Any) -> Json:
        address = "".join(f"/{quote(part, safe='')}" for part in ("v1", *path))
        answer = self._send(method, address, seconds=seconds, **request)
        # A proxy, or our own API, may say so after the work is done. A repetition may overtake the first request.
        is_in_progress = answer.status_code == requests.codes.conflict and "Retry-After" in answer.headers
        if method != "GET" and (answer.status_code in _AWAY or is_in_progress):
            raise AnswerLost(str(_error_of(answer, self.url)), hint=_UNSURE)
        if not answer.ok:
            raise _error_of(answer, self.url)
        return _read_object(answer, self.url)

    def _send(
        self, method: str, path: str, *, seconds: float, body: Json | None = None, **request: Any
    ) -> requests.Response:
        if body is not None:
            # The body is sent in blocks, so that CONNECT_SECONDS limits each block, not the whole body.
            request["data"] = io.BytesIO(json.dumps(body, allow_nan=False).encode())
            request.setdefault("headers", {})["Content-Type"] = "application/json"
        try:
            return self._session.request(
                method, self.url + path, timeout=(CONNECT_SECONDS, seconds), allow_redirects=False, **request
            )
        except requests.RequestException as error:
            raise self._explain(error, asked_to_do=method != "GET") from error

    def _explain(self, error: requests.RequestException, *, asked_to_do: bool) -> CommandError:
        if not isinstance(
            error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
        ):
            return CommandError(
                f"the request to {self.url} failed: {error}", hint="check RUSHES_URL, the address of the API"
            )
        if not asked_to_do or _never_connected(error):
            hint = "start it with `rushes up`, or set RUSHES_URL to where it runs"
            return ServiceAway(f"the API at {self.url} cannot be reached", hint=hint)
        return AnswerLost(
            f"the API at {self.url} gave no answer: it may have carried out the request",
            hint=_UNSURE,
        )


def make_once() -> str:
    """Return a new key for a request that may be repeated."""
    return f'"{uuid4()}"'


def open_api(settings: Settings | None = None) -> ApiClient:
    """Return a client for the API that the settings name. Without `settings`, it reads the environment."""
    settings = settings or load_settings()
    headers = settings.get_api_headers()
    return ApiClient(settings.url, key=settings.find_api_key(), headers=headers, ca_file=settings.ca_file)


def _never_connected(error: requests.RequestException) -> bool:
    """Return whether the request was never sent, so that nothing can have been carried out."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, urllib3.exceptions.NewConnectionError)


def _error_of(answer: requests.Response, url: str) -> CommandError:
    problem = _find_object(answer)
    if answer.status_code in _AWAY:
        wait = answer.headers.get("Retry-After", "")
        detail = problem.get("detail") or f"the API at {url} answered {answer.status_code}"
        again = f"try again in {wait} s" if wait.isdigit() else "try again in a moment"
        return ServiceAway(str(detail), hint=f"{again}; `rushes doctor` shows what is wrong")
    if "status" not in problem and "title" not in problem:
        return _not_ours(answer, url)
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status_code}")
    problems = [
        Problem(str(each.get("field", "")), str(each.get("message", "")))
        for each in problem.get("errors") or []
        if isinstance(each, dict)
    ]
    return Declined(answer.status_code, detail, problems=problems)


def _not_ours(answer: requests.Response, url: str) -> CommandError:
    match answer.status_code:
        case 401 | 403 | 407:
            said, hint = f"a proxy in front of the API at {url} asks for a login", _LOGIN
        case 301 | 302 | 303 | 307 | 308:
            target = urlsplit(urljoin(answer.url, answer.headers.get("Location", "")))
            said = f"the server at {url} redirects to {target.scheme}://{target.hostname}{target.path}"
            hint = f"set RUSHES_URL to the address of the API; if the redirect leads to a login page, {_LOGIN}"
        case 413:
            said = f"a proxy in front of the API at {url} refuses a request of this size"
            hint = f"raise its limit (nginx: client_max_body_size), or {_HINTS[413]}"
        case _:
            said, hint = f"the server at {url} is not the Rushes API", "check RUSHES_URL, the address of the API"
    return CommandError(f"{said} (it answered {answer.status_code})", hint=hint)


def _read_object(answer: requests.Response, url: str) -> Json:
    found = _find_object(answer)
    if not found:
        raise _not_ours(answer, url)
    return found


def _find_object(answer: requests.Response) -> Json:
    try:
        found = answer.json()
    except requests.exceptions.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
