"""Whether this process is fit to lead, judged by its turns. A server that it cannot reach may answer another worker."""

FAILING_SECONDS = 5.0
"""As long as a lease: if a leader's turns fail for longer, it is replaced like one that froze."""
ASIDE_SECONDS = 3.0
"""Every worker asks for the lead once a second, so another has it by then. If there is none, this one leads again."""


class LeaderHealth:
    """Times are monotonic seconds. Turns that failed because of Postgres are not reported here: a worker that cannot
    reach it loses the lead anyway."""

    def __init__(self) -> None:
        self._failing_since: float | None = None
        self._aside_until = float("-inf")

    def note_good(self) -> None:
        """Record that a turn succeeded."""
        self._failing_since = None

    def note_failed(self, *, began: float, now: float) -> bool:
        """Record that a turn failed. Returns True if no turn has succeeded for too long: give up the lead."""
        if self._failing_since is None:
            self._failing_since = began
        if now - self._failing_since <= FAILING_SECONDS:
            return False
        self._failing_since = None
        self._aside_until = now + ASIDE_SECONDS
        return True

    def may_lead(self, now: float) -> bool:
        """Whether this process may lead: not for a few seconds after it gave up the lead."""
        return now >= self._aside_until
