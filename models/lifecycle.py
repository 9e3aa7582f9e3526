"""The states of a job and of a prediction, and the moves between them. Pure data: standard library only.

    job:         queued <-> rendering -> storing -> succeeded
                    \\__________\\____________\\____> failed | cancelled
    prediction:  submitting -> rendering -> completed | failed | cancelled | timeout | deleted | lost
                    |  \\-> unconfirmed -> rendering (adopted) | absent
                    \\-> refused | cancelled (withdrawn before the POST)

`models/transitions/` is the only place that writes a state; the database's CHECKs and its partial unique index on
live predictions hold the rest.
"""

from datetime import timedelta
from enum import StrEnum


class JobState(StrEnum):
    """What a job waits for."""

    QUEUED = "queued"  # a free slot, or the end of a back-off (`due_at`)
    RENDERING = "rendering"  # its one live prediction
    STORING = "storing"  # its video to be copied, checked and made visible
    SUCCEEDED = "succeeded"  # nothing: the file is there
    FAILED = "failed"  # nothing, unless a person retries it
    CANCELLED = "cancelled"  # nothing, unless a person retries it


class PredictionState(StrEnum):
    """How far one purchase has come. LIVE ones hold a slot and the job's only right to buy."""

    SUBMITTING = "submitting"  # LIVE: to be posted (`posted_at` null), or being posted
    UNCONFIRMED = "unconfirmed"  # LIVE: posted, answer unknown: maybe bought, never posted again
    RENDERING = "rendering"  # LIVE: accepted, `provider_id` known
    COMPLETED = "completed"  # the provider's verdict: outputs exist, paid
    FAILED = "failed"  # the provider's verdict: refunded, save where it is `NO_OUTPUT`
    CANCELLED = "cancelled"  # the provider's verdict, or withdrawn by us before the POST
    TIMEOUT = "timeout"  # the provider's verdict: it gave up
    DELETED = "deleted"  # the provider's verdict: somebody deleted it there
    LOST = "lost"  # accepted once, unknown to the provider now or without a verdict at the end of its retention
    REFUSED = "refused"  # the provider said no to the POST: nothing bought
    ABSENT = "absent"  # in doubt, looked for and not found: the job may be bought anew
    SURPLUS = "surplus"  # accepted after `absent` or `refused`, or beside another: paid, stored, alerted, never live


LIVE = frozenset({PredictionState.SUBMITTING, PredictionState.UNCONFIRMED, PredictionState.RENDERING})
"""At most one of these per job; per account at most `slots + ahead` of those that did not give their slot back."""

SLOT_WINDOWS = 3
"""A render that outlived so many watch windows gives its slot back; the money stays held. A doubt that outlived the
provider's retention counts as having outlived them."""

IN_A_ROW = timedelta(minutes=10)
"""A refusal that comes later after the last hold is in a row with it no more: nothing was tried for long."""

NO_OUTPUT = "no_output"
"""Code of a failed prediction that the provider calls completed and has no file of: it promises refunds for failures
only, so this one counts as spent, and another try is a purchase that a person decides on."""

NOTHING_BOUGHT = frozenset({PredictionState.REFUSED, PredictionState.ABSENT})
"""Endings that are no purchase."""

NO_ATTEMPT = NOTHING_BOUGHT | {PredictionState.SURPLUS}
"""Endings that consume no attempt: a surplus stood beside the job's own purchase."""

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

VERDICTS = frozenset(
    {
        PredictionState.COMPLETED,
        PredictionState.FAILED,
        PredictionState.CANCELLED,
        PredictionState.TIMEOUT,
        PredictionState.DELETED,
        PredictionState.LOST,
    }
)
"""How a prediction that was accepted ends; of a surplus they are kept apart, in `verdict`."""

PREDICTION_MOVES: dict[PredictionState, frozenset[PredictionState]] = {
    PredictionState.SUBMITTING: frozenset(
        {
            PredictionState.UNCONFIRMED,
            PredictionState.RENDERING,
            PredictionState.REFUSED,
            PredictionState.CANCELLED,
        }
    ),
    # A refusal that comes after the lease is a verdict all the same: nothing was bought.
    PredictionState.UNCONFIRMED: frozenset(
        {PredictionState.RENDERING, PredictionState.ABSENT, PredictionState.REFUSED}
    ),
    # Back to doubt: what it had adopted turned out to be another's, by a direct answer.
    PredictionState.RENDERING: VERDICTS | {PredictionState.UNCONFIRMED},
    # Called not bought, and its provider id turns up after all.
    PredictionState.ABSENT: frozenset({PredictionState.SURPLUS}),
    PredictionState.REFUSED: frozenset({PredictionState.SURPLUS}),
    **{state: frozenset() for state in VERDICTS},
    PredictionState.SURPLUS: frozenset(),
}


def is_held(state: PredictionState, verdict: str | None = None) -> bool:
    """Whether the price of this prediction is held; of a surplus its verdict decides."""
    return state in LIVE or (state == PredictionState.SURPLUS and verdict is None)


def is_spent(state: PredictionState, verdict: str | None = None, *, error_code: str | None = None) -> bool:
    """Whether the price of this prediction counts as spent; of a surplus its verdict decides."""
    settled = verdict if state == PredictionState.SURPLUS else state
    if settled == PredictionState.FAILED and error_code == NO_OUTPUT:
        return True
    return settled in (PredictionState.COMPLETED, PredictionState.DELETED, PredictionState.LOST)


def is_live(state: PredictionState) -> bool:
    """Whether this prediction holds a slot and its job's right to buy."""
    return state in LIVE


def is_ended(state: JobState) -> bool:
    """Whether only a person can move this job again."""
    return state in JOB_ENDED
