"""Examples of refusals, failures and health."""

from api.examples import JOB_ID, Json
from models.queries.health import EXPECTED_MIGRATION


def _problem(status: int, title: str, detail: str, *errors: tuple[str, str]) -> Json:
    wrong = [{"field": field, "message": message} for field, message in errors]
    return {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": wrong}


_DURATION = ("input.duration", "must be one of 6, 8, 10, not 7")


PROBLEMS: dict[int, tuple[str, Json]] = {
    400: (
        "The body is not JSON.",
        _problem(400, "Bad Request", "the body is not JSON: expected ident at line 2 column 14"),
    ),
    401: (
        "The provider did not sign the webhook, or the signature is too old.",
        _problem(401, "Unauthorized", "the webhook's signature does not match"),
    ),
    404: ("It does not exist.", _problem(404, "Not Found", f"there is no job {JOB_ID}")),
    409: (
        "It exists already, or its state does not allow this.",
        _problem(409, "Conflict", f"job {JOB_ID} has ended: it is succeeded"),
    ),
    413: (
        "The body is too large.",
        _problem(413, "Content Too Large", "the body has more than 256,000,000 bytes; split the batch"),
    ),
    415: (
        "The body is not sent as JSON.",
        _problem(
            415,
            "Unsupported Media Type",
            "send the body as JSON, with the header `Content-Type: application/json`",
        ),
    ),
    416: (
        "The file does not have that range.",
        _problem(416, "Range Not Satisfiable", "the file does not have that range"),
    ),
    422: (
        "One or more fields are wrong; nothing was stored.",
        _problem(422, "Unprocessable Content", "input.duration: must be one of 6, 8, 10, not 7", _DURATION),
    ),
    503: (
        "The database is away. Try again after `Retry-After` seconds.",
        _problem(503, "Service Unavailable", "the database cannot be reached"),
    ),
}

ALIVE: Json = {"status": "ok"}
READY: Json = {
    "status": "ready",
    "database": "ok",
    "migration": EXPECTED_MIGRATION,
    "expected_migration": EXPECTED_MIGRATION,
    "dispatcher": "worker-1@render-host",
    "workers": 2,
    "account": None,
    "dispatcher_away_seconds": None,
    "account_waits_seconds": None,
    "batches_at_risk": 0,
    "lag_seconds": 0.0,
    "paused": None,
    "stale_writes": 0,
    "duplicates": 0,
    "unconfirmed": 0,
    "oldest_unconfirmed_seconds": None,
    "foreign_list": 0,
    "outputs": None,
}
NOT_READY: Json = {
    **READY,
    "status": "not ready",
    "database": "away",
    "migration": None,
    "dispatcher": None,
    "workers": 0,
}
