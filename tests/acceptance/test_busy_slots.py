"""Slots stay busy: renders queue ahead at a provider that takes them, and none at one that refuses."""

from pathlib import Path

from models.db.session import open_engine, open_sessions, transaction
from rushes.monitoring.audit import audit_rows
from tests.acceptance.farm import Farm, open_farm

JOBS = 30
SLOTS = 4
MAX_OVERCOMMIT = "SELECT coalesce(max((detail->>'overcommit')::int), 0) FROM event WHERE kind = 'account.overcommit'"


def render_all(farm: Farm) -> None:
    farm.start_worker()
    farm.push([f"take {number}" for number in range(JOBS)])
    farm.wait_until(
        lambda: farm.count("SELECT count(*) FROM prediction WHERE state = 'completed'") == JOBS,
        what="every render is known to be completed",
    )


def count_events(farm: Farm, kind: str) -> int:
    return farm.count(f"SELECT count(*) FROM event WHERE kind = '{kind}'")  # noqa: S608 - a constant of the tests


def assert_no_promise_is_broken(farm: Farm) -> None:
    engine = open_engine(farm.settings.get_database_url(), pool_size=1)
    try:
        with transaction(open_sessions(engine)) as session:
            assert not [finding for finding in audit_rows(session) if finding.count]
    finally:
        engine.dispose()


def test_renders_queue_at_a_provider_that_lets_them(database_url: str, redis_url: str, tmp_path: Path) -> None:
    servers = {"database_url": database_url, "redis_url": redis_url, "folder": tmp_path}
    with open_farm(**servers, simulator={"overflow": "queue"}, slots=SLOTS, overcommit="auto") as farm:  # type: ignore[arg-type]
        render_all(farm)
        assert SLOTS < farm.simulator.stats()["most_unfinished"] <= SLOTS + farm.count(MAX_OVERCOMMIT)
        assert_no_promise_is_broken(farm)


def test_a_provider_that_refuses_is_not_asked_for_more_again(database_url: str, redis_url: str, tmp_path: Path) -> None:
    servers = {"database_url": database_url, "redis_url": redis_url, "folder": tmp_path}
    with open_farm(**servers, simulator={"overflow": "refuse"}, slots=SLOTS, overcommit="auto") as farm:  # type: ignore[arg-type]
        render_all(farm)
        assert farm.simulator.stats()["most_unfinished"] <= SLOTS
        refusals = count_events(farm, "prediction.refused")
        assert refusals <= farm.count(MAX_OVERCOMMIT) + 1, farm.describe()
        assert farm.count("SELECT overcommit FROM account") <= (1 if not refusals else 0)
        assert count_events(farm, "account.backed_off") == 0
        assert farm.count("SELECT count(*) FROM job WHERE state IN ('failed', 'queued')") == 0
        assert_no_promise_is_broken(farm)
