"""The states of a job and of a prediction, and the moves between them. Pure data: standard library only.

    job:         queued <-> rendering -> storing -> succeeded
                    \\__________\\____________\\____> failed | cancelled
    prediction:  submitting -> rendering -> completed | failed | cancelled | timeout | deleted | lost
                    |  \\-> unconfirmed -> rendering (adopted) | not found
                    \\-> refused | cancelled (withdrawn before the POST)

`models/transitions/` is the only place that writes a state; the database's CHECKs and its partial unique index on
live predictions hold the rest.
"""

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """What a job waits for."""

    QUEUED = "queued"  # a free slot, or the end of a back-off (`due_at`)
    RENDERING = "rendering"  # its one live prediction
    STORING = "storing"  # its video to be copied, checked and made visible
    SUCCEEDED = "succeeded"  # nothing: the file is there
    FAILED = "failed"  # nothing, unless a person retries it
    CANCELLED = "cancelled"  # nothing, unless a person retries it


class Reason(NamedTuple):
    """Why something ended or waits."""

    code: str  # a word for programs
    message: str  # a sentence for people


class PredictionState(StrEnum):
    """How far one purchase has come. LIVE ones hold a slot and the job's only right to buy."""

    SUBMITTING = "submitting"  # LIVE: to be posted (`posted_at` null), or being posted
    UNCONFIRMED = "unconfirmed"  # LIVE: posted, answer unknown: maybe bought, never posted again
    RENDERING = "rendering"  # LIVE: accepted, `provider_id` known
    COMPLETED = "completed"  # the provider's outcome: outputs exist, paid
    FAILED = "failed"  # the provider's outcome: refunded, save where it is `NO_OUTPUT`
    CANCELLED = "cancelled"  # the provider's outcome, or withdrawn by us before the POST
    TIMEOUT = "timeout"  # the provider's outcome: it gave up
    DELETED = "deleted"  # the provider's outcome: somebody deleted it there
    LOST = "lost"  # accepted once, unknown to the provider now or without an outcome at the end of its retention
    REFUSED = "refused"  # the provider said no to the POST: nothing bought
    NOT_FOUND = "not_found"  # unconfirmed, searched for and not found: the job may be bought anew
    DUPLICATE = (
        "duplicate"  # accepted after `not_found` or `refused`, or beside another: paid, stored, alerted, never live
    )


LIVE = frozenset({PredictionState.SUBMITTING, PredictionState.UNCONFIRMED, PredictionState.RENDERING})
"""At most one of these per job; per account at most `slots + overcommit` of those that did not give their slot back."""

SLOT_WINDOWS = 3
"""A render that outlived so many watch windows gives its slot back; the money stays held. An unconfirmed submission
that outlived the provider's retention counts as having outlived them."""

IN_A_ROW = timedelta(minutes=10)
"""A refusal that comes later after the last hold is in a row with it no more: nothing was tried for long."""

NO_OUTPUT = "no_output"
"""Code of a failed prediction that the provider calls completed and has no file of: it promises refunds for failures
only, so this one counts as spent, and another try is a purchase that a person decides on."""

NOTHING_BOUGHT = frozenset({PredictionState.REFUSED, PredictionState.NOT_FOUND})
"""Endings that are no purchase."""

NO_ATTEMPT = NOTHING_BOUGHT | {PredictionState.DUPLICATE}
"""Endings that consume no attempt: a duplicate purchase stood beside the job's own purchase."""

JOB_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

_ENDINGS = frozenset({JobState.FAILED, JobState.CANCELLED})

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: _ENDINGS | {JobState.RENDERING},
    JobState.RENDERING: _ENDINGS | {JobState.QUEUED, JobState.STORING},
    JobState.STORING: _ENDINGS | {JobState.SUCCEEDED},
    JobState.SUCCEEDED: frozenset(),
    # A person's retry: to `storing` when a paid output still waits to be fetched, else to `queued`.
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.STORING}),
    JobState.CANCELLED: frozenset({JobState.QUEUED, JobState.STORING}),
}

OUTCOMES = frozenset(
    {
        PredictionState.COMPLETED,
        PredictionState.FAILED,
        PredictionState.CANCELLED,
        PredictionState.TIMEOUT,
        PredictionState.DELETED,
        PredictionState.LOST,
    }
)
"""How a prediction that was accepted ends; of a duplicate purchase they are kept apart, in `outcome`."""

PREDICTION_MOVES: dict[PredictionState, frozenset[PredictionState]] = {
    PredictionState.SUBMITTING: frozenset(
        {
            PredictionState.UNCONFIRMED,
            PredictionState.RENDERING,
            PredictionState.REFUSED,
            PredictionState.CANCELLED,
        }
    ),
    # A refusal that comes after the lease is an outcome all the same: nothing was bought.
    PredictionState.UNCONFIRMED: frozenset(
        {PredictionState.RENDERING, PredictionState.NOT_FOUND, PredictionState.REFUSED}
    ),
    # Back to unconfirmed: what it had adopted turned out to be another's, by a direct answer.
    PredictionState.RENDERING: OUTCOMES | {PredictionState.UNCONFIRMED},
    # Called not bought, and its provider id turns up after all.
    PredictionState.NOT_FOUND: frozenset({PredictionState.DUPLICATE}),
    PredictionState.REFUSED: frozenset({PredictionState.DUPLICATE}),
    **{state: frozenset() for state in OUTCOMES},
    PredictionState.DUPLICATE: frozenset(),
}


def is_held(state: PredictionState, outcome: str | None = None) -> bool:
    """Whether the price of this prediction is held; of a duplicate purchase its outcome decides."""
    return state in LIVE or (state == PredictionState.DUPLICATE and outcome is None)


def is_spent(state: PredictionState, outcome: str | None = None, *, error_code: str | None = None) -> bool:
    """Whether the price of this prediction counts as spent; of a duplicate purchase its outcome decides."""
    settled = outcome if state == PredictionState.DUPLICATE else state
    if settled == PredictionState.FAILED and error_code == NO_OUTPUT:
        return True
    return settled in (PredictionState.COMPLETED, PredictionState.DELETED, PredictionState.LOST)


def is_live(state: PredictionState) -> bool:
    """Whether this prediction holds a slot and its job's right to buy."""
    return state in LIVE


def is_ended(state: JobState) -> bool:
    """Whether only a person can move this job again."""
    return state in JOB_ENDED
