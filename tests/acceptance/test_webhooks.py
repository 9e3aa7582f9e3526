"""With webhooks ends are known at once and next to nothing is asked, and what gets lost is found by checks."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.farm import Farm, open_farm
from tests.support.api_server import serve_api

FIRST = 20
TAKES = 60


@pytest.fixture
def farm(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Farm]:
    """A farm, and the API to which its simulator sends webhooks."""
    with (
        open_farm(database_url=database_url, redis_url=redis_url, folder=tmp_path, slots=20) as started,
        serve_api(
            database_url,
            tmp_path / "data",
            wavespeed_api_key=started.simulator.api_key,
            wavespeed_url=started.simulator.url,
        ) as api,
    ):
        started.settings = started.settings.with_changes(public_url=str(api.client.base_url))
        yield started


def test_most_ends_are_reported_by_webhooks_and_the_lost_ones_are_found(farm: Farm) -> None:
    farm.simulator.set_fault("webhook_lost", probability=0.05)
    farm.simulator.set_fault("webhook_duplicated", probability=0.1)
    farm.simulator.set_fault("webhook_forged", probability=0.05)
    farm.start_worker()
    farm.start_store()
    # The first few are checked, and by them the leader learns what webhooks are worth.
    farm.push([f"first {number}" for number in range(FIRST)], batch="first")
    farm.wait_for_all()
    farm.wait_until(
        lambda: "dispatcher.webhooks" in farm.read_logs("main", last=10_000_000), what="webhooks are weighed"
    )

    farm.push([f"take {number}" for number in range(TAKES)])
    farm.wait_for_all()

    assert farm.count_jobs("succeeded") == FIRST + TAKES
    assert {*Counter(task["input"]["prompt"] for task in farm.simulator.tasks()).values()} == {1}
    assert farm.count("SELECT count(*) FROM prediction WHERE ended_by_hook") > TAKES / 2
    assert farm.count("SELECT count(*) FROM prediction WHERE hook_outcome <> state") == 0
    addresses = [task["webhook"] for task in farm.simulator.tasks()]
    assert len(set(addresses)) == FIRST + TAKES
    logs = farm.read_logs(last=10_000_000)
    assert [address for address in addresses if address.rpartition("/")[2] in logs] == []
