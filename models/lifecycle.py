"""The states of a job and of a prediction, and the transitions between them. Pure data: standard library only.

    job:         queued <-> rendering -> storing -> succeeded (from queued or rendering: a duplicate is stored)
                    \\__________\\____________\\____> failed | cancelled
    prediction:  submitting -> rendering -> completed | failed | cancelled | timeout | deleted | lost
                    |  \\-> unconfirmed -> rendering (adopted) | not found
                    \\-> refused | cancelled (withdrawn before the POST)
                 not found | refused -> rendering (a duplicate purchase turned up)

Only `models/transitions/` writes a state. The database enforces the rest, by CHECKs and by a partial unique index on
live predictions.
"""

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple


class JobState(StrEnum):
    """The state of a job. Each comment says what the job waits for."""

    QUEUED = "queued"  # a free slot, or the end of a back-off (`due_at`)
    RENDERING = "rendering"  # the outcome of its one live prediction
    STORING = "storing"  # a worker to copy its video, check it and make it visible
    SUCCEEDED = "succeeded"  # nothing: its file is stored
    FAILED = "failed"  # nothing, unless a person retries it
    CANCELLED = "cancelled"  # nothing, unless a person retries it


class BatchState(StrEnum):
    """The state of a batch. It follows from when the batch was sealed, cancelled and ended."""

    OPEN = "open"  # takes more jobs; those that it has are rendered
    SEALED = "sealed"  # takes no more jobs, and some have not ended
    CANCELLED = "cancelled"  # it was cancelled while open, or all of its jobs were
    ENDED = "ended"  # all of its jobs have, until a person retries one

    @classmethod
    def of(cls, *, is_sealed: bool, is_cancelled: bool, has_ended: bool) -> "BatchState":
        """Return the state that follows from these facts."""
        if is_cancelled:
            return cls.CANCELLED
        if has_ended:
            return cls.ENDED
        return cls.SEALED if is_sealed else cls.OPEN


class Reason(NamedTuple):
    """Why something ended or waits."""

    code: str  # machine-readable code
    message: str  # message for people


class PredictionState(StrEnum):
    """The state of one purchase. A LIVE one holds a slot and the job's only right to buy."""

    SUBMITTING = "submitting"  # LIVE: waits for its POST (`posted_at` is null), or the POST is under way
    UNCONFIRMED = "unconfirmed"  # LIVE: posted, answer unknown; may have been bought, so it is never posted again
    RENDERING = "rendering"  # LIVE: accepted, `provider_id` known
    COMPLETED = "completed"  # the provider's outcome: outputs exist, paid
    FAILED = "failed"  # the provider's outcome: refunded, unless its code is `NO_OUTPUT`
    CANCELLED = "cancelled"  # the provider's outcome, or we withdrew it before the POST
    TIMEOUT = "timeout"  # the provider's outcome: the provider gave up
    DELETED = "deleted"  # the provider's outcome: somebody deleted it there
    LOST = "lost"  # accepted, but the provider no longer knows it, or its retention ended without an outcome
    REFUSED = "refused"  # the provider refused the POST: nothing was bought
    NOT_FOUND = "not_found"  # unconfirmed, searched for and not found: the job may be bought again


LIVE = frozenset({PredictionState.SUBMITTING, PredictionState.UNCONFIRMED, PredictionState.RENDERING})
"""A job has at most one of these, duplicate purchases not counted. An account admits at most `slots + overcommit` that
have not given their slot back."""

SLOT_WINDOWS = 3
"""A render that has outlived this many watch windows gives its slot back; its price stays held. An unconfirmed
submission that has outlived the provider's retention counts as having outlived them."""

IN_A_ROW = timedelta(minutes=10)
"""A refusal that comes later than this after the last back-off ended starts a new series: nothing was tried for a long
time."""

UNREACHABLE_AFTER = 2
"""The provider is unreachable after this many requests in a row of any kind without a usable answer."""

CHECKS_QUIET = timedelta(seconds=15)
"""Checks work again once this long has passed since the last wait after a failed one, without another failure."""

NO_OUTPUT = "no_output"
"""Code of a failed prediction that the provider calls completed but has no file for. The provider promises refunds for
failures only, so this one counts as spent. A person decides whether to buy the job again."""

NOTHING_BOUGHT = frozenset({PredictionState.REFUSED, PredictionState.NOT_FOUND})
"""States that end a prediction without a purchase."""

JOB_ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

_ENDINGS = frozenset({JobState.FAILED, JobState.CANCELLED})

JOB_MOVES: dict[JobState, frozenset[JobState]] = {
    # A queued or rendering job succeeds at once if it would be bought again and a duplicate purchase of it is stored.
    JobState.QUEUED: _ENDINGS | {JobState.RENDERING, JobState.SUCCEEDED},
    JobState.RENDERING: _ENDINGS | {JobState.QUEUED, JobState.STORING, JobState.SUCCEEDED},
    JobState.STORING: _ENDINGS | {JobState.SUCCEEDED},
    JobState.SUCCEEDED: frozenset(),
    # A person's retry leads to `storing` if a paid output can still be fetched, else to `queued`.
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
"""How an accepted prediction ends."""

PREDICTION_MOVES: dict[PredictionState, frozenset[PredictionState]] = {
    PredictionState.SUBMITTING: frozenset(
        {
            PredictionState.UNCONFIRMED,
            PredictionState.RENDERING,
            PredictionState.REFUSED,
            PredictionState.CANCELLED,
        }
    ),
    # A refusal that arrives after the lease still counts: nothing was bought.
    PredictionState.UNCONFIRMED: frozenset(
        {PredictionState.RENDERING, PredictionState.NOT_FOUND, PredictionState.REFUSED}
    ),
    # Back to unconfirmed: a direct answer showed that the adopted prediction belongs to another submission.
    PredictionState.RENDERING: OUTCOMES | {PredictionState.UNCONFIRMED},
    # Recorded as not bought, but its provider id turned up after all: a duplicate purchase from then on.
    PredictionState.NOT_FOUND: frozenset({PredictionState.RENDERING}),
    PredictionState.REFUSED: frozenset({PredictionState.RENDERING}),
    **{state: frozenset() for state in OUTCOMES},
}


def is_spent(state: PredictionState, *, error_code: str | None = None) -> bool:
    """Whether the price of this prediction counts as spent."""
    if state == PredictionState.FAILED and error_code == NO_OUTPUT:
        return True
    return state in (PredictionState.COMPLETED, PredictionState.DELETED, PredictionState.LOST)


def is_live(state: PredictionState) -> bool:
    """Whether this prediction holds a slot, its price, and its job's right to buy."""
    return state in LIVE


def is_ended(state: JobState) -> bool:
    """Whether the job stays in this state unless a person retries it."""
    return state in JOB_ENDED
