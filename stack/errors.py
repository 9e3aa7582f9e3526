"""A command that cannot go on: what went wrong, what to do about it, and the exit code."""

from rushes.errors import RushesError

FAILED = 1
BAD_INPUT = 2
SERVICE_AWAY = 3
INTERRUPTED = 130


class CommandError(RushesError):
    """A command that cannot go on: one or more errors, what to do about them, and how to exit."""

    def __init__(self, *errors: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors
        self.hint = hint
        self.exit_code = exit_code


class ServiceAway(CommandError):
    """A server that the command needs does not answer."""

    def __init__(self, *errors: str, hint: str = "") -> None:
        super().__init__(*errors, hint=hint, exit_code=SERVICE_AWAY)
