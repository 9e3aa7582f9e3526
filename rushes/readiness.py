"""Whether the API can accept jobs, and whether workers would render them."""

from dataclasses import dataclass, replace

from models import queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import Sessions, one_statement, transaction
from models.db.shared_reads import SharedRead
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
    """Checks the database, so that a frozen database delays no caller beyond the given time."""

    def __init__(self, sessions: Sessions) -> None:
        self._read = SharedRead(lambda: check_readiness(sessions), name="rushes-readiness")

    def check(self, *, seconds: float) -> Readiness:
        """Return `check_readiness`, or `UNREACHABLE` if the database has not answered after `seconds`."""
        try:
            return self._read.wait(seconds=seconds)
        except TimeoutError:
            return UNREACHABLE

    async def ask(self, *, seconds: float) -> Readiness:
        """The same, from an event loop."""
        try:
            return await self._read.ask(seconds=seconds)
        except TimeoutError:
            return UNREACHABLE


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
