"""The error tree: each branch stands for a decision, not for a place in the code.

    RushesError
    ├── Refused           the caller's fault: the message says what to change; nothing was stored
    │   ├── InvalidInput  one or more fields are wrong (HTTP 422)
    │   ├── NotFound      there is no such thing (HTTP 404)
    │   │   └── Gone      it was removed on purpose (HTTP 410)
    │   ├── Conflict      it exists already, or its state does not allow this (HTTP 409)
    │   │   └── InProgress  the same request is being carried out (HTTP 409)
    │   ├── Unauthenticated  no key, or one that is not accepted (HTTP 401)
    │   └── Forbidden     the key has no scope for this (HTTP 403)
    ├── Transient         try again later
    │   └── Unavailable   a server of ours does not respond (HTTP 503)
    ├── Permanent         the job fails: another try would end the same way
    └── OutcomeUnknown    the outcome is unknown: check before doing anything else

`rushes/wavespeed/answers.py` adds the provider's answers to this tree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


class RushesError(Exception):
    """Any error that Rushes raises on purpose. `str()` gives a message for people.

    `retry_after` is the wait that the other side asked for, if any.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(RushesError):
    """The caller's fault."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with one field. `field` is a dotted path such as `jobs.16.duration`, or empty for the whole input."""

    field: str
    message: str

    def under(self, prefix: str) -> "Problem":
        """Return the same problem with `prefix` before its field."""
        return Problem(field=f"{prefix}.{self.field}" if self.field else prefix, message=self.message)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidInput(Refused):
    """One or more fields are wrong. All of them are listed, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class NotFound(Refused):
    """There is no such job, batch or video model."""


class Gone(NotFound):
    """It was removed on purpose. The message says when."""


class Conflict(Refused):
    """It exists already, or its state does not allow the request."""


class InProgress(Conflict):
    """The same request is being carried out. Its answer will be there in a moment."""


class Unauthenticated(Refused):
    """No key, or one that is not accepted."""


class Forbidden(Refused):
    """The key has no scope for this. The message names the missing scope."""


class Transient(RushesError):
    """Worth another try."""


class Unavailable(Transient):
    """A server that we depend on does not respond at the moment."""


class Permanent(RushesError):
    """Another try would end the same way."""


class OutcomeUnknown(RushesError):
    """The outcome is unknown. The caller must check it before doing anything else."""
