"""The body of a callback: ids, state, the caller's own values, cost and links, in less than 20 kB.

The kind, the time and the ids are the event's. The rest is the job as it is when the body is made: in a later attempt,
the cost may be another one, and after a retry or cancel the error, and the state of an event that does not say one.
"""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from models.queries.callbacks.wanted_events import EventSubject
from models.transitions.callbacks.attempts import Attempt
from rushes.callbacks.kinds import find_state

_MESSAGE_LIMIT = 500


def write_body(attempt: Attempt, subject: EventSubject, *, base: str | None) -> bytes:
    """Return the body as minified JSON. `base` is the address of the API; without it, links are paths."""
    content = {
        "type": attempt.kind,
        "timestamp": _show_time(subject.event_at or attempt.created_at),
        "data": _describe(attempt, subject, (base or "").rstrip("/")),
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _describe(attempt: Attempt, subject: EventSubject, base: str) -> dict[str, Any]:
    about: dict[str, Any] = {"endpoint_id": str(attempt.endpoint_id), "event_id": attempt.event_id}
    if attempt.kind.startswith("endpoint."):
        detail = subject.detail or {}
        return about | {name: detail[name] for name in ("endpoint_id", "reason") if name in detail}
    about |= {"batch_id": _show_id(subject.batch_id), "batch": subject.batch}
    if attempt.kind == "batch.ended":
        about |= subject.detail or {}
    if attempt.job_id is None:
        return about | {"links": {"batch": f"{base}/v1/batches/{subject.batch_id}"} if subject.batch_id else {}}
    state = find_state(attempt.kind) or subject.state
    return about | {
        "job_id": str(attempt.job_id),
        "number": subject.number,
        "state": state,
        "client_ref": subject.client_ref,
        "metadata": subject.client_metadata,
        "error": _describe_error(subject) if state == "failed" else None,
        "cost": {"held": f"{subject.held:.4f}", "spent": f"{subject.spent:.4f}"},
        "links": _link_job(base, attempt.job_id, has_video=state == "succeeded"),
    }


def _describe_error(subject: EventSubject) -> dict[str, str] | None:
    if subject.error_code is None:
        return None
    return {"code": subject.error_code, "message": (subject.error_message or "")[:_MESSAGE_LIMIT]}


def _link_job(base: str, job_id: UUID, *, has_video: bool) -> dict[str, str]:
    job = f"{base}/v1/jobs/{job_id}"
    return {"job": job, "events": f"{job}/events"} | ({"video": f"{job}/video"} if has_video else {})


def _show_id(row_id: UUID | None) -> str | None:
    return str(row_id) if row_id is not None else None


def _show_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
