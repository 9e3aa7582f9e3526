"""One submission: the right to post, the POST and its outcome. A POST with a lost answer is not repeated."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from typing import Any, TypeVar
from uuid import UUID

import structlog
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from models import queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import one_statement, transaction
from models.lifecycle import UNREACHABLE_AFTER, Reason
from models.transitions.admission import SEND_ALLOWANCE
from models.transitions.submitting import DUPLICATE, SubmitTicket
from rushes.accounts import back_off
from rushes.errors import OutcomeUnknown, Permanent, Transient
from rushes.reconciling.assign import Assigned, assign_answered, log_duplicate
from rushes.runtime import Runtime, count_stale, name_job
from rushes.submitting.upload import send_upload
from rushes.timing import ACCOUNT_BACKED_OFF, SUBMIT_NOT_SENT
from rushes.wavespeed.answers import AccountRefused, ConcurrencyLimited, InputRefused, NotSent, SubmitOutcomeUnknown
from rushes.wavespeed.callback_urls import HookAddresses, Origin
from rushes.wavespeed.predictions import ProviderPrediction

DATABASE_PAUSE_SECONDS = 0.5

log = structlog.get_logger(__name__)

Outcome = TypeVar("Outcome")


class SubmitRefused(Permanent):
    """The provider refused this input: the job has failed and nothing was bought."""


class SubmitBackedOff(Transient):
    """The provider accepts nothing from the account for now: the job is queued again and nothing was bought."""


class SubmitNotSent(Transient):
    """The provider could not be reached: nothing was sent, and the submission is tried again."""


class SubmitUnconfirmed(OutcomeUnknown):
    """It is unknown whether the provider accepted. The list is searched before the job is submitted again."""


def submit_prediction(runtime: Runtime, prediction_id: UUID, claim: int) -> str:
    """Post the prediction of this claim, once; return a line for operators.

    It opens the connection first, so that a slow network or name server takes none of the rate slot's time. If opening
    takes longer than the rate slot lasts, the next submission uses the connection.

    Raises one of the classes above, after recording the outcome in the rows. If the process dies before the first
    commit, the lease gives the row back. If it dies later, the row has `posted_at` and the dispatcher marks it
    unconfirmed.
    """
    hooks = runtime.hook_addresses  # queries the database once, so before any write
    with _never_in_the_way(), contextlib.suppress(DatabaseAway, SQLAlchemyError):  # else use the data we have
        runtime.forecaster.learn(runtime.sessions)  # queries once a minute, so also before any write
    began = time.monotonic()
    try:
        with runtime.client.connected() as connection:
            return _post(runtime, prediction_id, claim, hooks=hooks, connection=connection)
    except NotSent as error:
        _hand_back(runtime, prediction_id, claim, not_reached=error, elapsed=time.monotonic() - began)
        raise SubmitNotSent(str(error)) from error


def _post(
    runtime: Runtime, prediction_id: UUID, claim: int, *, hooks: HookAddresses | None, connection: HTTPConnection
) -> str:
    began = time.monotonic()
    lease = runtime.settings.submit_lease
    with one_statement(runtime.sessions) as session:
        ticket = transitions.submitting.begin_submit(
            session, prediction_id, claim, lease=lease, hook_asked=hooks is not None
        )
    if ticket is None:
        return send_upload(runtime, prediction_id, claim) or _hand_back(runtime, prediction_id, claim)
    name = name_job(runtime, ticket.place, ticket.video_model, ticket.input.get("prompt"))
    forecast = _forecast_time_left(runtime, ticket)  # before the POST, so that nothing delays saving its answer
    send_before = began + SEND_ALLOWANCE.total_seconds()
    try:
        webhook = hooks.make(ticket.prediction_id, ticket.job_id) if hooks else None
        accepted = runtime.client.submit(
            ticket.video_model, ticket.input, connection=connection, send_before=send_before, webhook=webhook
        )
    except NotSent as error:
        _take_back(runtime, ticket, claim, error, began=began)
        raise SubmitNotSent(f"{error} ({name})") from error
    except InputRefused as error:
        _refuse(runtime, ticket, claim, error)
        raise SubmitRefused(f"{error} ({name})") from error
    except AccountRefused as error:
        _refuse(runtime, ticket, claim, error)
        raise SubmitBackedOff(f"{error.reason}: {error} ({name})") from error
    except SubmitOutcomeUnknown as error:
        _mark_unconfirmed(runtime, ticket, claim, error, began=began)
        raise SubmitUnconfirmed(f"{error} ({name})") from error
    return f"accepted {name} as {_accept(runtime, ticket, claim, accepted, forecast=forecast)}"


def _hand_back(
    runtime: Runtime, prediction_id: UUID, claim: int, *, not_reached: NotSent | None = None, elapsed: float = 0.0
) -> str:
    """Give back a submission that was not begun.

    If connecting to the provider failed (`not_reached`, after `elapsed` seconds), the account backs off.
    """
    with transaction(runtime.sessions) as session:
        handed_back = transitions.submitting.hand_back_submit(session, prediction_id, claim)
        watched = queries.renders.find_watched(session, prediction_id) if handed_back and not_reached else None
        if watched is not None and not_reached is not None:
            account_id = watched.account_id
            transitions.accounts.note_provider_failure(session, account_id, failure=str(not_reached), elapsed=elapsed)
            back_off(session, account_id, not_reached, policy=SUBMIT_NOT_SENT, reason="unreachable")
    runtime.waker.wake()
    return "handed back: its rate slot passed, or the account waits" if handed_back else "stale: nothing to do"


@contextlib.contextmanager
def _never_in_the_way() -> Iterator[None]:
    """Wrap optional work of a submission: log any failure and continue."""
    try:
        yield
    except Exception:
        log.exception("submit.forecast_failed")


def _forecast_time_left(runtime: Runtime, ticket: SubmitTicket) -> dict[str, Any]:
    """Return the fields that the acceptance event holds in addition to the id."""
    with _never_in_the_way():
        return {"time_left": runtime.forecaster.forecast_render(ticket.video_model, ticket.input).as_numbers()}
    return {}


def _save_outcome(
    runtime: Runtime, ticket: SubmitTicket, write: Callable[[Session], Outcome], *, description: str
) -> Outcome:
    """Write the outcome of a POST. Retry while the database is away, locked or full, for up to the lease.

    The outcome is worth money: if it cannot be written, it is logged. Writing it twice changes nothing.
    """
    deadline = time.monotonic() + runtime.settings.submit_lease.total_seconds()
    while True:
        try:
            with transaction(runtime.sessions) as session:
                outcome = write(session)
            break
        except (DatabaseAway, SQLAlchemyError) as error:
            if isinstance(error, IntegrityError) or time.monotonic() > deadline:
                log.exception("submit.outcome_not_saved", prediction_id=str(ticket.prediction_id), outcome=description)
                raise
            time.sleep(DATABASE_PAUSE_SECONDS)
    runtime.waker.wake()
    return outcome


def _accept(
    runtime: Runtime, ticket: SubmitTicket, claim: int, accepted: ProviderPrediction, *, forecast: Mapping[str, Any]
) -> str:
    def accept(session: Session) -> str | None:
        return transitions.submitting.accept_answer(
            session,
            ticket.prediction_id,
            provider_id=accepted.id,
            provider_created_at=accepted.created_at,
            watch_window=runtime.settings.watch_window,
            forecast=forecast,
        )

    def write(session: Session) -> Assigned:
        if not transitions.purchases.yield_adoption(
            session, ticket.prediction_id, account_id=ticket.account_id, provider_id=accepted.id
        ):
            transitions.submitting.mark_unconfirmed(
                session, ticket.prediction_id, claim, message=f"{accepted.id} belongs to another submission"
            )
            description = "unconfirmed: another submission of the same input has taken this prediction"
            return Assigned(ticket.prediction_id, description)
        state = accept(session)
        assigned = Assigned(ticket.prediction_id, state) if state else _assign_late(session, runtime, ticket, accepted)
        transitions.accounts.clear_back_off(session, ticket.account_id)
        transitions.accounts.clear_provider_failures(session, ticket.account_id)
        return assigned

    description = f"accepted as {accepted.id}"
    if not ticket.back_offs and not ticket.provider_failures:
        with contextlib.suppress(DatabaseAway, SQLAlchemyError), one_statement(runtime.sessions) as session:
            if state := accept(session):  # no wake-up: no slot is free, and the render needs no check for now
                return f"{accepted.id}: {state}"
        # Not saved, or another row has adopted this id, or the row no longer waits: the full path handles each case.
    assigned = _save_outcome(runtime, ticket, write, description=description)
    if assigned.state == DUPLICATE:
        log_duplicate(assigned.prediction_id, accepted.id)
    return f"{accepted.id}: {assigned.state or 'known already'}"


def _assign_late(session: Session, runtime: Runtime, ticket: SubmitTicket, accepted: ProviderPrediction) -> Assigned:
    """Handle an answer that its row no longer waits for: the job gets the purchase if it would be bought again."""
    known = Assigned(ticket.prediction_id)
    watched = queries.renders.find_watched(session, ticket.prediction_id)
    if watched is not None and watched.provider_id is not None:
        return known
    origin = Origin(ticket.prediction_id, ticket.job_id)
    return assign_answered(session, runtime, ticket.account_id, origin=origin, found=accepted) or known


def _take_back(runtime: Runtime, ticket: SubmitTicket, claim: int, error: NotSent, *, began: float) -> None:
    def write(session: Session) -> None:
        if not transitions.submitting.unpost_submit(session, ticket.prediction_id, claim, detail=str(error)):
            # The lease has ended, so the row is unconfirmed already. But it is certain that nothing was bought.
            reason = Reason("not_sent", str(error))
            transitions.submitting.refuse_submit(session, ticket.prediction_id, claim, reason=reason, fails_job=False)
        # One late submission says nothing about the provider; several in a row do.
        if _is_outage(session, ticket, error, began=began) or not error.is_late:
            back_off(session, ticket.account_id, error, policy=SUBMIT_NOT_SENT, reason="unreachable")

    _save_outcome(runtime, ticket, write, description=f"not sent: {error}")


def _is_outage(session: Session, ticket: SubmitTicket, error: NotSent | SubmitOutcomeUnknown, *, began: float) -> bool:
    """Record that a submission got no usable answer. Returns whether enough have failed in a row for an outage."""
    failures = transitions.accounts.note_provider_failure(
        session, ticket.account_id, failure=str(error), elapsed=time.monotonic() - began
    )
    return failures >= UNREACHABLE_AFTER


def _refuse(runtime: Runtime, ticket: SubmitTicket, claim: int, error: InputRefused | AccountRefused) -> None:
    """Record that nothing was bought. A refused input fails the job; a refused account waits, and the job with it."""

    def write(session: Session) -> bool:
        fails_job = isinstance(error, InputRefused)
        reason = Reason("input_refused" if isinstance(error, InputRefused) else error.reason, str(error))
        moved = transitions.submitting.refuse_submit(
            session, ticket.prediction_id, claim, reason=reason, fails_job=fails_job
        )
        transitions.accounts.clear_provider_failures(session, ticket.account_id)
        if isinstance(error, InputRefused):
            transitions.accounts.clear_back_off(session, ticket.account_id)
        elif isinstance(error, ConcurrencyLimited):
            transitions.accounts.limit_slots(session, ticket.account_id)
        else:
            back_off(session, ticket.account_id, error, policy=ACCOUNT_BACKED_OFF, reason=error.reason)
        return moved

    refused = "refused" if isinstance(error, InputRefused) else "the account was refused"
    if not _save_outcome(runtime, ticket, write, description=f"{refused}: {error}"):
        count_stale(runtime, "submit.refused", ticket.prediction_id)


def _mark_unconfirmed(
    runtime: Runtime, ticket: SubmitTicket, claim: int, error: SubmitOutcomeUnknown, *, began: float
) -> None:
    def write(session: Session) -> bool:
        moved = transitions.submitting.mark_unconfirmed(session, ticket.prediction_id, claim, message=str(error))
        # One lost answer says nothing about the provider. The second in a row does, and so do a delay that it asks for
        # and a failed probe.
        is_outage = _is_outage(session, ticket, error, began=began)
        if is_outage or error.retry_after is not None or ticket.back_offs:
            back_off(session, ticket.account_id, error, policy=SUBMIT_NOT_SENT, reason="unreachable")
        return moved

    if not _save_outcome(runtime, ticket, write, description=f"unconfirmed: {error}"):
        count_stale(runtime, "submit.unconfirmed", ticket.prediction_id)
