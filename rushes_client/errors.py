"""What can go wrong between a program and the API.

ClientError
├── Declined       the API understood the request and refused it: the same request fails again
└── ApiAway        no answer for now: nothing was carried out, try again later
    └── AnswerLost the request was sent and may have been carried out: repeat it with the same `once`
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import requests

_LOGIN = "set RUSHES_API_HEADERS, for example to `Authorization: Bearer ...`"
UNSURE = "check whether it was carried out before you repeat it"
_HINTS = {
    401: "set RUSHES_API_KEY to a key of this API; where `rushes up` runs, the key is in `api.key` in its data folder",
    403: "`rushes key create` makes a key with other scopes",
    404: "`rushes batch list` and `rushes job list` show what exists",
    413: "split the file into several batches",
    500: "see the API's log",
}
_AWAY = frozenset({502, 503, 504})


class FieldProblem(NamedTuple):
    """A problem with one field. `field` is a dotted path such as `jobs.16.input.duration`."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ClientError(Exception):
    """A request failed. `errors` say what happened, `hint` what to do. `retry_after` is in seconds, if the API says."""

    def __init__(self, *errors: str, hint: str = "", retry_after: float | None = None) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors
        self.hint = hint
        self.retry_after = retry_after


class Declined(ClientError):
    """The API understood the request and refused it. `problems` name the fields, `status` is the HTTP status."""

    def __init__(self, status: int, detail: str, *, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(*([str(problem) for problem in problems] or [detail]), hint=_HINTS.get(status, ""))
        self.status = status
        self.problems = problems


class ApiAway(ClientError):
    """The API does not answer for now, and the request was not carried out."""


class AnswerLost(ApiAway):
    """The request was sent and no answer arrived, so it may have been carried out."""


def find_error(answer: requests.Response, url: str, *, changes: bool) -> ClientError | None:
    """Return what an answer of the API at `url` says went wrong; None if nothing did.

    `changes` says that the request may have changed something.
    """
    if answer.ok and not answer.is_redirect:
        return None
    wait = answer.headers.get("Retry-After", "")
    seconds = float(wait) if wait.isdigit() else None
    # The same request is in progress, or a proxy or our API answers so after the work is done.
    is_twin = answer.status_code == requests.codes.conflict and seconds is not None
    if not (answer.status_code in _AWAY or answer.status_code == requests.codes.too_many or (is_twin and changes)):
        return _explain(answer, url)
    detail = find_object(answer).get("detail") or f"the API at {url} answered {answer.status_code}"
    if changes and answer.status_code != requests.codes.too_many:
        return AnswerLost(str(detail), hint=UNSURE, retry_after=seconds)
    again = f"try again in {wait} s" if seconds is not None else "try again in a moment"
    return ApiAway(str(detail), hint=f"{again}; `rushes doctor` shows what is wrong", retry_after=seconds)


def _explain(answer: requests.Response, url: str) -> ClientError:
    problem = find_object(answer)
    if "status" not in problem and "title" not in problem:
        return blame_proxy(answer, url)
    detail = str(problem.get("detail") or problem.get("title") or f"HTTP {answer.status_code}")
    problems = [
        FieldProblem(str(each.get("field", "")), str(each.get("message", "")))
        for each in problem.get("errors") or []
        if isinstance(each, Mapping)
    ]
    return Declined(answer.status_code, detail, problems=problems)


def blame_proxy(answer: requests.Response, url: str) -> ClientError:
    """Return the error for an answer that is not the API's."""
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
    return ClientError(f"{said} (it answered {answer.status_code})", hint=hint)


def find_object(answer: requests.Response) -> dict[str, Any]:
    """Return the JSON object that an answer holds, or an empty one."""
    try:
        found = answer.json()
    except requests.exceptions.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
