"""The kinds of events that callbacks can be about."""

from collections.abc import Iterable

from models import JobState

DEFAULT = ["job.succeeded", "job.failed", "job.cancelled", "batch.ended"]
"""The endings."""
TEST = "endpoint.test"
"""What `POST /v1/endpoints/{id}/test` sends. Every endpoint gets it."""
KINDS = frozenset(
    {
        *("job.pushed", "job.queued", "job.storing", "job.succeeded", "job.failed", "job.cancelled"),
        *("job.paused", "job.resumed", "job.reprioritized", "job.cancel_requested", "job.retried", "job.rechecked"),
        *("batch.pushed", "batch.opened", "batch.sealed", "batch.cancelled", "batch.ended", "batch.deleted"),
        *("batch.at_risk", "batch.on_track"),
        "endpoint.disabled",
    }
)
GROUPS = sorted({kind.partition(".")[0] + ".*" for kind in KINDS})
LIMIT = 20


def check_kinds(kinds: Iterable[str]) -> list[str]:
    """Return the kinds without repetitions. Raises `ValueError` with the one that no event has."""
    chosen = list(dict.fromkeys(kinds))
    for each in chosen:
        if each not in KINDS and each not in GROUPS:
            raise ValueError(f"{each[:60]!r} is no kind of event: {', '.join([*GROUPS, *sorted(KINDS)])}")
    if not 1 <= len(chosen) <= LIMIT:
        raise ValueError(f"must be 1 to {LIMIT} kinds of events")
    return chosen


def find_state(kind: str) -> str | None:
    """Return the state of the job that an event of this kind says it has entered."""
    noun, _, state = kind.partition(".")
    return state if noun == "job" and state in {each.value for each in JobState} else None
