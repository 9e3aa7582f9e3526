"""Whether this process is fit to lead, by how its turns went: what it is cut off from may answer another."""

FAILING_SECONDS = 5.0
"""As long as a lease: a leader whose turns fail for longer is replaced as one that froze."""
ASIDE_SECONDS = 3.0
"""Every worker asks for the lead once a second, so another has it by then; where there is none, it is taken again."""


class LeaderHealth:
    """Times are monotonic seconds. Turns that Postgres failed are not told: who cannot reach it loses the lead."""

    def __init__(self) -> None:
        self._failing_since: float | None = None
        self._aside_until = float("-inf")

    def note_good(self) -> None:
        """A turn went well."""
        self._failing_since = None

    def note_failed(self, *, began: float, now: float) -> bool:
        """A turn failed; True where the lead is to be given up, since none went well for too long."""
        if self._failing_since is None:
            self._failing_since = began
        if now - self._failing_since <= FAILING_SECONDS:
            return False
        self._failing_since = None
        self._aside_until = now + ASIDE_SECONDS
        return True

    def may_lead(self, now: float) -> bool:
        """False for a few seconds after the lead was given up."""
        return now >= self._aside_until
