"""After a run that could not read the provider's list: record the failure, and delay the next run."""

from datetime import timedelta
from uuid import UUID

from models.db.session import transaction
from rushes.accounts import end_failures, note_failure
from rushes.runtime import Runtime
from rushes.timing import LONGEST_WISH
from rushes.wavespeed.answers import AccountRefused, ProviderUnavailable

FAILED_PAUSE = timedelta(seconds=5)


def pause_after(runtime: Runtime, account_id: UUID, error: AccountRefused | ProviderUnavailable) -> timedelta:
    """Record the failure, and return the time until the next run. It grows while the provider refuses key or credit."""
    pause = max(FAILED_PAUSE, min(error.retry_after or FAILED_PAUSE, LONGEST_WISH))
    if isinstance(error, ProviderUnavailable) and _is_answered(runtime):
        end_failures(runtime, account_id)  # only the list fails
        return pause
    with transaction(runtime.sessions) as session:
        return note_failure(session, account_id, error, elapsed=0.0) or pause


def _is_answered(runtime: Runtime) -> bool:
    """Whether the provider answers another kind of request."""
    try:
        runtime.quick_client.get_balance()
    except ProviderUnavailable:
        return False
    except AccountRefused:
        return True
    return True
