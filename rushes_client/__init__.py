"""Client of Rushes for other programs: push jobs, wait for them, follow events, fetch videos, verify callbacks.

It needs only requests and pydantic.

    from rushes_client import Rushes

    with Rushes("http://127.0.0.1:8000", key="rsh_live_...") as rushes:
        batch = rushes.push_many([{"model": "ltx-2-fast", "input": {"prompt": "a fox"}}], name="nightly")
        rushes.wait(batch)
        rushes.download(batch, "videos")
"""

from rushes_client.callbacks import Callback, InvalidCallback, verify_callback
from rushes_client.client import Rushes
from rushes_client.connection import Connection
from rushes_client.errors import AnswerLost, ApiAway, ClientError, Declined, FieldProblem
from rushes_client.models import Batch, Cost, Event, File, Job, JobError

__all__ = [
    "AnswerLost",
    "ApiAway",
    "Batch",
    "Callback",
    "ClientError",
    "Connection",
    "Cost",
    "Declined",
    "Event",
    "FieldProblem",
    "File",
    "InvalidCallback",
    "Job",
    "JobError",
    "Rushes",
    "verify_callback",
]
