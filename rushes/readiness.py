"""Whether jobs can be accepted, and who would render them."""

from dataclasses import dataclass

from models import queries
from models.errors import DatabaseAway
from models.queries import EXPECTED_MIGRATION, Health
from models.session import Sessions, transaction

NOBODY = Health(leader=None, workers=0, deferred=None)


@dataclass(frozen=True, slots=True)
class Readiness:
    """A look at the database, and at what it tells of the workers; the latter is no condition for accepting jobs."""

    reachable: bool
    migration: str | None
    health: Health

    @property
    def migrated(self) -> bool:
        """Migrations are numbered. A newer one than ours is fine: it comes first when many machines are updated."""
        return self.migration is not None and self.migration >= EXPECTED_MIGRATION

    @property
    def ready(self) -> bool:
        return self.reachable and self.migrated


def check_readiness(sessions: Sessions) -> Readiness:
    """Never raises for a database that is away or not migrated: that is the answer."""
    try:
        with transaction(sessions) as session:
            seen = Readiness(reachable=True, migration=queries.find_migration(session), health=NOBODY)
            if not seen.migrated:
                return seen
            return Readiness(reachable=True, migration=seen.migration, health=queries.find_health(session))
    except DatabaseAway:
        return Readiness(reachable=False, migration=None, health=NOBODY)
