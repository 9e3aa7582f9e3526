"""Read, pause and resume the account, and let it back off."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from models import Account, queries, transitions
from models.db.session import Sessions, transaction
from models.queries.accounts.summary import AccountSummary
from rushes.access.audit_log import recorded
from rushes.access.callers import Caller
from rushes.account_status import AccountStatus, Condition, find_account_status
from rushes.errors import Conflict, NotFound, Transient
from rushes.runtime import ACCOUNT, Runtime
from rushes.timing import ACCOUNT_BACKED_OFF, RetryPolicy
from rushes.wavespeed.answers import (
    AccountRefused,
    KeyRefused,
    NoCredit,
    ProviderUnavailable,
    SubmitOutcomeUnknown,
)

_PAUSES = ("paused_at", "paused_reason", "paused_detail", "person_paused_by")
_WAITS = ("back_off_until", "check_back_off_until", "outputs_probe_at")


@dataclass(frozen=True, slots=True)
class AccountView:
    """The account with its money and its status."""

    summary: AccountSummary
    status: AccountStatus


def get_account(sessions: Sessions) -> AccountView:
    """Return the account with its money. Raises `NotFound` before a worker has created its row."""
    with transaction(sessions) as session:
        return _get(session)


def pause_account(sessions: Sessions, *, caller: Caller) -> AccountView:
    """Submit nothing until the account is resumed. Running renders are still watched and stored.

    Raises `Conflict` if a person has already paused it. A pause after a restore continues, and a person's pause remains
    after that one ends.
    """
    with _change(sessions, caller, "account.pause", *_PAUSES) as (session, account_id):
        if not transitions.pauses.pause_account(session, account_id, by=caller.by):
            raise Conflict("the account is paused already by a person")
        return _get(session)


def resume_account(sessions: Sessions, *, caller: Caller) -> AccountView:
    """Submit again, even after a restore that left unknown predictions unexplained.

    Raises `Conflict` if the account is not paused.
    """
    with _change(sessions, caller, "account.resume", *_PAUSES) as (session, account_id):
        if not transitions.pauses.resume_account(session, account_id, by=caller.by):
            raise Conflict("the account is not paused")
        return _get(session)


def accept_store(sessions: Sessions, *, caller: Caller) -> AccountView:
    """Let store workers use their current folder. Raises `Conflict` if no folder is recorded."""
    with _change(sessions, caller, "account.accept_store", "store_marker") as (session, account_id):
        if not transitions.accounts.accept_store(session, account_id, by=caller.by):
            raise Conflict("there is nothing to accept: no folder is recorded, so store workers use the current one")
        return _get(session)


def back_off(
    session: Session, account_id: UUID, error: Transient | SubmitOutcomeUnknown, *, policy: RetryPolicy, reason: str
) -> timedelta:
    """Submit nothing for a time that grows with the refusals in a row. Returns that time."""
    refusals = transitions.accounts.count_back_offs(session, account_id) + 1
    delay = policy.next_delay(refusals, random=random.random, retry_after=error.retry_after)
    transitions.accounts.back_off_account(session, account_id, delay=delay, reason=reason, detail=str(error))
    return delay


def retry_account(sessions: Sessions, *, caller: Caller) -> AccountView:
    """End the account's waits after failures, and try now. For a person who has removed the cause.

    Raises `Conflict` if the account is paused: only `resume_account` ends a pause.
    """
    with _change(sessions, caller, "account.retry", *_WAITS) as (session, account_id):
        if _get(session).status.condition is Condition.PAUSED:
            raise Conflict("the account is paused: resume it first")
        transitions.accounts.retry_account(session, account_id, by=caller.by)
        return _get(session)


def note_failure(
    session: Session, account_id: UUID, error: AccountRefused | ProviderUnavailable, *, elapsed: float
) -> timedelta | None:
    """Record that a check or a list request failed, `elapsed` seconds after it began.

    Returns how long submissions back off because of it; None if they do not.
    """
    if isinstance(error, ProviderUnavailable):
        transitions.accounts.note_provider_failure(session, account_id, failure=str(error), elapsed=elapsed)
        return None
    transitions.accounts.clear_provider_failures(session, account_id)  # a refusal is an answer
    if isinstance(error, KeyRefused | NoCredit):
        return back_off(session, account_id, error, policy=ACCOUNT_BACKED_OFF, reason=error.reason)
    return None


def end_failures(runtime: Runtime, account_id: UUID) -> None:
    """Record that the provider answers again. Writes nothing if no request had failed."""
    with transaction(runtime.sessions) as session:
        is_back = transitions.accounts.clear_provider_failures(session, account_id)
    if is_back:
        runtime.waker.wake()


@contextmanager
def _change(sessions: Sessions, caller: Caller, action: str, *columns: str) -> Iterator[tuple[Session, UUID]]:
    """A transaction for a person's change to the account, which is recorded with these columns."""
    with transaction(sessions) as session:
        account = session.get_one(Account, _get_id(session))
        with recorded(session, caller, action, account, *columns):
            yield session, account.id


def _get(session: Session) -> AccountView:
    summary = queries.summary.summarise_account(session, ACCOUNT)
    if summary is None:
        raise NotFound("there is no account yet: start a worker")
    return AccountView(summary, find_account_status(session, ACCOUNT))


def _get_id(session: Session) -> UUID:
    account = queries.dispatching.find_account(session, ACCOUNT)
    if account is None:
        raise NotFound("there is no account yet: start a worker")
    return account.id


def write_limits(runtime: Runtime, session: Session) -> None:
    """Write the limits of the settings into the account's row."""
    settings = runtime.settings
    transitions.accounts.ensure_account(
        session,
        ACCOUNT,
        slots=settings.slots,
        submits_per_minute=settings.submits_per_minute,
        max_spend_per_day=settings.max_spend_per_day,
    )
