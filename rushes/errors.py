"""The error tree: a branch is a decision, not a place.

    RushesError
    ├── Refused           the caller's fault: say what to change; nothing was stored
    │   ├── InvalidInput  one or more fields are wrong (HTTP 422)
    │   ├── NotFound      there is no such thing (HTTP 404)
    │   └── Conflict      it exists already, or its state does not allow this (HTTP 409)
    ├── Transient         try again later; may carry `retry_after`
    │   └── Unavailable   a server of ours is away (HTTP 503)
    ├── Permanent         the job fails: trying again would end the same way
    └── OutcomeUnknown    the outcome is unknown: check before anything else

`rushes/wavespeed/errors.py` hangs the provider's answers into this tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


class RushesError(Exception):
    """Anything that Rushes raises on purpose; `str()` is fit for a person's eyes."""


class Refused(RushesError):
    """The caller's fault."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field; `field` is a dotted path such as `jobs.16.duration`, or empty for the whole."""

    field: str
    message: str

    def under(self, prefix: str) -> "Problem":
        """The same problem, seen from one level further out."""
        return Problem(field=f"{prefix}.{self.field}" if self.field else prefix, message=self.message)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidInput(Refused):
    """One or more fields are wrong; all of them are listed, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class NotFound(Refused):
    """There is no such job, batch or video model."""


class Conflict(Refused):
    """It exists already, or its state does not allow what was asked."""


class Transient(RushesError):
    """Worth another try; `retry_after` is the other side's own wish, where it gave one."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(Transient):
    """A server that we depend on is away for the moment."""


class Permanent(RushesError):
    """Trying again would end the same way."""


class OutcomeUnknown(RushesError):
    """The outcome is unknown; whoever catches this must check before doing anything else."""
