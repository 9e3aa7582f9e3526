"""Whether the API can accept jobs, and whether workers would render them."""

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace

from models import queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import Sessions, one_statement, transaction
from models.queries.health import EXPECTED_MIGRATION, Health
from models.queries.storing import OutputOutage
from models.tables.worker import NO_STORE, StoreState
from rushes.account_status import ACCOUNT, OK, AccountStatus, find_account_status

NOBODY = Health(leader=None, workers=0)


@dataclass(frozen=True, slots=True)
class Readiness:
    """The state of the database, and of the workers as it shows them. Accepting jobs does not depend on the workers."""

    reachable: bool
    migration: str | None
    health: Health
    outage: OutputOutage | None = None  # of the output host
    account: AccountStatus = OK
    store: StoreState = NO_STORE
    problem: str | None = None  # why the database cannot be used, if known

    @property
    def migrated(self) -> bool:
        """Migrations are numbered. A newer one than ours is fine: with many machines, the database is updated first."""
        return self.migration is not None and self.migration >= EXPECTED_MIGRATION

    @property
    def ready(self) -> bool:
        return self.reachable and self.migrated


UNREACHABLE = Readiness(reachable=False, migration=None, health=NOBODY)


class ReadinessProbe:
    """Checks the database in its own thread, so that a frozen database delays no caller beyond the given time.

    Callers share a running check: a database that does not answer costs one thread and one connection.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._pending: Future[Readiness] | None = None

    def check(self, *, seconds: float) -> Readiness:
        """Return `check_readiness`, or `UNREACHABLE` if the database has not answered after `seconds`."""
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
        except Exception as error:  # noqa: BLE001 - passed on to the caller
            pending.set_exception(error)


def check_readiness(sessions: Sessions) -> Readiness:
    """Never raises if the database is unreachable or not migrated: the result says so."""
    try:
        with transaction(sessions) as session:
            seen = Readiness(reachable=True, migration=queries.health.find_migration(session), health=NOBODY)
            if not seen.migrated:
                return seen
            health, outage = queries.health.find_health(session), queries.storing.find_output_outage(session)
            account = find_account_status(session, ACCOUNT)
            store = queries.storing.find_store_state(session)
        with one_statement(sessions) as session:
            transitions.accounts.prove_writable(session)
        return replace(seen, health=health, outage=outage, account=account, store=store)
    except DatabaseAway as error:
        return replace(UNREACHABLE, problem=str(error))
