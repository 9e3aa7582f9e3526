"""The leader's part of callbacks: deliveries of new events, and claims of those that are due."""

from collections.abc import Mapping

from models import transitions
from models.db.session import one_statement
from models.transitions.callbacks.deliveries import ClaimedDelivery
from rushes.callbacks.creating import create_deliveries
from rushes.events.horizon import Horizon
from rushes.runtime import Runtime
from rushes.timing import Every
from workers.dispatcher.publisher import UNSTARTED_LEASE, Message, Publisher

CALLBACK_SECONDS, BUSY_SECONDS = 0.25, 0.05
"""How often the leader works on callbacks: usually, and while more are due than were claimed. A callback leaves about
this long after its event."""


class CallbackDispatch:
    """Only the dispatcher's thread may use this."""

    def __init__(self, runtime: Runtime, publisher: Publisher) -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._horizon = Horizon(runtime.sessions)
        self._turns = Every(CALLBACK_SECONDS)

    def is_due(self, now: float, *, has_endpoints: bool) -> bool:
        """Whether it is time to send callbacks. Without an endpoint, nothing is done."""
        return has_endpoints and self._turns.begin_if_due(now)

    def send(self, room: Mapping[str, int], pools: Mapping[str, int]) -> None:
        """Create the deliveries of new events; claim and publish those that are due, at most one per thread."""
        is_left = create_deliveries(self._runtime, self._horizon)
        claimed = self._claim(room.get("deliver", 0), threads=pools.get("deliver", 0))
        self._publisher.publish_or_give_back(
            [_deliver_message(each) for each in claimed],
            self._runtime.sessions,
            lambda session: transitions.deliveries.give_back(session, claimed),
        )
        self._turns.seconds = BUSY_SECONDS if claimed or is_left else CALLBACK_SECONDS

    def find_seconds_until_due(self, now: float) -> float:
        """Return the seconds until the next time."""
        return max(0.0, self._turns.began_at + self._turns.seconds - now)

    def _claim(self, count: int, *, threads: int) -> list[ClaimedDelivery]:
        if not count:
            return []
        with one_statement(self._runtime.sessions) as session:
            return transitions.deliveries.claim_deliveries(session, count=count, threads=threads, lease=UNSTARTED_LEASE)


def _deliver_message(claimed: ClaimedDelivery) -> Message:
    task_id = f"deliver-{claimed.webhook_id[-8:]}-{claimed.claim}"
    return Message("callback.deliver", "deliver", (claimed.id, claimed.claim), task_id)
