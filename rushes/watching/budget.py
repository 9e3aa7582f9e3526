"""The budget of requests that watch: a bucket of tokens and what is owed to it. Times are monotonic seconds."""

BURST_SECONDS = 0.2


class RequestBudget:
    """At most `rate` requests a second, in bursts of `BURST_SECONDS`; what was made beyond it is paid back first."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens, self._filled_at = 1.0, float("-inf")
        self._unscheduled_at = float("-inf")  # no request outside the schedule before
        self._owed = 0

    @property
    def tokens(self) -> float:
        """Requests that may be made now; fractions count up to the next one."""
        return self._tokens

    @property
    def is_in_debt(self) -> bool:
        """Requests were made beyond the budget and are not paid yet: none is granted meanwhile."""
        return self._owed > 0

    def fill(self, now: float) -> None:
        """Add what has come since the last time, at most a burst."""
        burst = self._find_burst()
        since = now - max(self._filled_at, now - burst / self._rate)
        self._tokens = min(burst, self._tokens + since * self._rate)
        self._filled_at = now

    def take(self) -> None:
        """One request of the schedule is made."""
        self._tokens -= 1

    def count_allowed(self, *, now: float) -> int:
        """How many requests outside the schedule may be made now; whoever makes them charges them.

        One may be made a little early, because the schedule may leave no whole token, and none before it has been made
        up for. They are at most half of the budget, so that the schedule gets the other half.
        """
        self.fill(now)
        return 0 if self._owed or self._tokens < 0 or now < self._unscheduled_at else max(1, int(self._tokens))

    def charge(self, count: int) -> None:
        """Charge `count` requests that were made outside the schedule."""
        self._tokens -= count
        self._unscheduled_at = max(self._unscheduled_at, self._filled_at) + 2 * count / self._rate

    def pay_debt(self, owed: int, *, now: float) -> int:
        """Requests were made beyond those that were granted: pay what the budget can; returns how many it paid.

        What it cannot pay yet is to be passed again.
        """
        self.fill(now)
        paid = max(0, min(owed, int(self._tokens)))
        self._tokens -= paid
        self._owed = owed - paid
        return paid

    def seconds_until(self, tokens: float) -> float:
        """Until there are so many tokens; negative if there are."""
        return (tokens - self._tokens) / self._rate

    def seconds_until_payable(self) -> float:
        """Until the debt, or a burst of it, can be paid."""
        return self.seconds_until(min(self._owed, self._find_burst()))

    def _find_burst(self) -> float:
        return max(1.0, self._rate * BURST_SECONDS)


class RunningMean:
    """Each value changes the mean by `share` of the difference; without a start, the first value is the mean."""

    def __init__(self, share: float, *, start: float | None = None) -> None:
        self._share = share
        self.value = start

    def add(self, value: float) -> None:
        """Take a value in."""
        self.value = value if self.value is None else self.value + self._share * (value - self.value)
