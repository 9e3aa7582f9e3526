"""Whether jobs can be accepted, and who would render them."""

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass

from models import queries
from models.db.errors import DatabaseAway
from models.db.session import Sessions, transaction
from models.queries.health import EXPECTED_MIGRATION, Health
from models.queries.storing import OutputOutage

NOBODY = Health(leader=None, workers=0, back_off=None)


STOPPED_SECONDS = 10.0
"""A dispatcher that nobody leads for so long has stopped: a lease lasts five seconds."""
STUCK_SECONDS = 600.0
"""An account that refuses for so long does not come back by itself."""
UNCONFIRMED_SECONDS = 600.0
"""An unconfirmed submission that needs no person is decided long before."""
LAG_SECONDS = 60.0
"""Nothing that is due waits so long in a farm that goes on."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The database, and what it tells of the workers; the latter is no condition for accepting jobs."""

    reachable: bool
    migration: str | None
    health: Health
    outage: OutputOutage | None = None  # of the output host

    @property
    def migrated(self) -> bool:
        """Migrations are numbered. A newer one than ours is fine: it comes first when many machines are updated."""
        return self.migration is not None and self.migration >= EXPECTED_MIGRATION

    @property
    def ready(self) -> bool:
        return self.reachable and self.migrated

    @property
    def dispatcher_stopped(self) -> bool:
        """Nobody has led for ten seconds although somebody could."""
        seconds = self.health.leaderless_seconds
        return self.health.workers > 0 and seconds is not None and seconds > STOPPED_SECONDS

    @property
    def account_stuck(self) -> bool:
        """The provider has refused everything for ten minutes."""
        return (self.health.back_off_seconds or 0) > STUCK_SECONDS

    @property
    def lags(self) -> bool:
        """Something that is due has waited for a minute."""
        return self.health.lag_seconds > LAG_SECONDS

    @property
    def is_long_unconfirmed(self) -> bool:
        """A submission has been unconfirmed for ten minutes."""
        return (self.health.oldest_unconfirmed_seconds or 0) > UNCONFIRMED_SECONDS


UNREACHABLE = Readiness(reachable=False, migration=None, health=NOBODY)


class ReadinessProbe:
    """Checks the database in a thread of its own, so that a frozen one makes nobody wait for longer than said.

    Who asks while a check is under way shares it: a database that does not answer costs one thread and one connection.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._pending: Future[Readiness] | None = None

    def check(self, *, seconds: float) -> Readiness:
        """`check_readiness`, or that the database cannot be reached where it has not answered by then."""
        try:
            return self._begin().result(seconds)
        except TimeoutError:
            return UNREACHABLE

    async def ask(self, *, seconds: float) -> Readiness:
        """The same, from an event loop."""
        done, _ = await asyncio.wait({asyncio.wrap_future(self._begin())}, timeout=seconds)
        return done.pop().result() if done else UNREACHABLE

    def _begin(self) -> "Future[Readiness]":
        with self._lock:
            if self._pending is None or self._pending.done():
                self._pending = Future()
                threading.Thread(target=self._run, args=(self._pending,), name="rushes-readiness", daemon=True).start()
            return self._pending

    def _run(self, pending: "Future[Readiness]") -> None:
        try:
            pending.set_result(check_readiness(self._sessions))
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            pending.set_exception(error)


def check_readiness(sessions: Sessions) -> Readiness:
    """Never raises for a database that is away or not migrated: that is the answer."""
    try:
        with transaction(sessions) as session:
            seen = Readiness(reachable=True, migration=queries.health.find_migration(session), health=NOBODY)
            if not seen.migrated:
                return seen
            health, outage = queries.health.find_health(session), queries.storing.find_output_outage(session)
            return Readiness(reachable=True, migration=seen.migration, health=health, outage=outage)
    except DatabaseAway:
        return UNREACHABLE
