"""One upload: send a file to the provider before a submission needs it. It costs nothing, so it may be repeated."""

import mimetypes
import random
from uuid import UUID

from models import transitions
from models.db.session import one_statement, transaction
from models.lifecycle import Reason
from models.transitions.submitting import UPLOAD_USABLE
from models.transitions.uploads import UploadTicket
from rushes.accounts import back_off
from rushes.errors import Permanent, Transient
from rushes.runtime import Runtime, name_job
from rushes.timing import ACCOUNT_BACKED_OFF, UPLOAD_FAILED
from rushes.wavespeed.answers import AccountRefused, InputRefused, ProviderUnavailable


class UploadRefused(Permanent):
    """The provider refused this file: the job has failed and nothing was bought."""


class UploadDelayed(Transient):
    """The file could not be sent for now: the job is queued again and nothing was bought."""


def send_upload(runtime: Runtime, prediction_id: UUID, claim: int) -> str | None:
    """Send one file that the submission of this claim needs; return a line for operators, or None if it needs none.

    Raises one of the classes above, after recording the outcome in the rows. If the process dies, the lease gives the
    submission back, and the file is sent again.
    """
    with one_statement(runtime.sessions) as session:
        ticket = transitions.uploads.begin_upload(
            session, prediction_id, claim, usable=UPLOAD_USABLE, lease=runtime.settings.upload_lease
        )
    if ticket is None:
        return None
    job = name_job(runtime, ticket.place, ticket.video_model, None)
    if ticket.content is None:
        return f"waits {job}: another submission sends upload {ticket.sha256}"
    name = ticket.sha256[:16] + (mimetypes.guess_extension(ticket.content_type) or "")
    try:
        url = runtime.client.upload(ticket.content, name=name, content_type=ticket.content_type)
    except (InputRefused, AccountRefused, ProviderUnavailable) as error:
        _save_failure(runtime, ticket, claim, error)
        kind = UploadRefused if isinstance(error, InputRefused) else UploadDelayed
        raise kind(f"{error} ({job})") from error
    with transaction(runtime.sessions) as session:
        transitions.uploads.finish_upload(session, ticket.account_id, ticket.sha256, url=url)
    runtime.waker.wake()
    return f"uploaded {job}: {ticket.sha256}, {len(ticket.content):,} bytes"


def _save_failure(
    runtime: Runtime, ticket: UploadTicket, claim: int, error: InputRefused | AccountRefused | ProviderUnavailable
) -> None:
    """Fail the job if its file was refused; else queue it again, so that its slot is free for others."""
    with transaction(runtime.sessions) as session:
        transitions.uploads.finish_upload(session, ticket.account_id, ticket.sha256, url=None)
        if isinstance(error, InputRefused):
            delay, reason = None, Reason("upload_refused", f"the provider refused its file: {error}")
        else:
            delay = UPLOAD_FAILED.next_delay(ticket.failures + 1, random=random.random, retry_after=error.retry_after)
            reason = Reason("upload_failed", f"its file could not be sent, so Rushes tries again: {error}")
        transitions.uploads.refuse_upload(session, ticket.prediction_id, claim, reason=reason, retry_in=delay)
        if isinstance(error, AccountRefused):
            back_off(session, ticket.account_id, error, policy=ACCOUNT_BACKED_OFF, reason=error.reason)
    runtime.waker.wake()
