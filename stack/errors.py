"""Errors that end a command: the cause, a hint on what to do, and the exit code."""

from rushes.errors import RushesError

FAILED = 1
BAD_INPUT = 2
SERVICE_AWAY = 3
INTERRUPTED = 130


class CommandError(RushesError):
    """Ends a command: one or more errors, a hint on what to do, and the exit code."""

    def __init__(self, *errors: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors
        self.hint = hint
        self.exit_code = exit_code


class ServiceAway(CommandError):
    """A server that the command needs does not answer."""

    def __init__(self, *errors: str, hint: str = "") -> None:
        super().__init__(*errors, hint=hint, exit_code=SERVICE_AWAY)
