"""A worker that has stored a file goes on with the next one that is due."""

from pathlib import Path
from uuid import UUID

import pytest

from models import transitions
from models.db.session import transaction
from rushes.runtime import Runtime
from rushes.storing import store as storing
from rushes.storing.failures import StoreDelayed
from rushes.storing.store import store_outputs
from tests.support import rows
from tests.support.output_host import OutputHost
from tests.support.rows import SECOND
from tests.support.runtimes import LEASE, ask
from tests.support.videos import make_video


@pytest.fixture
def addresses(host: OutputHost, tmp_path: Path) -> list[str]:
    film = make_video(tmp_path / "film.mp4", audio=False).read_bytes()
    return [host.offer(f"{number}.mp4", film) for number in range(4)]


def add_backlog(runtime: Runtime, addresses: list[str]) -> None:
    """Files to store, in this order."""
    with transaction(runtime.sessions) as session:
        account = rows.add_account(session)
        for place, address in enumerate(addresses):
            rows.add_render(session, "completed", account_id=account, outputs=[address], due_at=(place - 60) * SECOND)


def store_first(runtime: Runtime, *, stops_after: int = 99) -> str:
    """The task of one message. Its worker shuts down once `stops_after` files are stored."""
    with transaction(runtime.sessions) as session:
        (claimed,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
    return store_outputs(
        runtime, claimed.prediction_id, claimed.claim, must_stop=lambda: count_stored(runtime) >= stops_after
    )


def count_stored(runtime: Runtime) -> int:
    return int(ask(runtime, "SELECT count(*) FROM job WHERE state = 'succeeded'")[0][0])


def test_one_message_stores_the_whole_backlog(runtime: Runtime, addresses: list[str]) -> None:
    add_backlog(runtime, addresses)
    assert store_first(runtime).partition("; then 3 more: ")[2].count(", ") == 2
    assert count_stored(runtime) == 4
    assert ask(runtime, "SELECT DISTINCT claim, store_attempts FROM prediction") == [(1, 1)]


def test_the_backlog_stays_in_rows_when_the_worker_stops(runtime: Runtime, addresses: list[str]) -> None:
    add_backlog(runtime, addresses)
    store_first(runtime, stops_after=2)
    assert count_stored(runtime) == 2
    assert ask(runtime, "SELECT DISTINCT claim, begun_at FROM prediction WHERE due_at IS NOT NULL") == [(0, None)]


def test_a_task_gives_its_thread_back_after_some_seconds(
    runtime: Runtime, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "GO_ON_SECONDS", 0.0)
    add_backlog(runtime, addresses)
    store_first(runtime)
    assert count_stored(runtime) == 1


def test_a_file_that_fails_ends_the_task_and_names_its_job(
    runtime: Runtime, host: OutputHost, addresses: list[str]
) -> None:
    addresses[2] = f"{host.url}/gone.mp4"
    add_backlog(runtime, addresses)
    with pytest.raises(StoreDelayed, match="status 404") as failed:
        store_first(runtime)
    (job,) = ask(runtime, "SELECT job_id FROM prediction WHERE error_code IS NOT NULL")[0]
    assert UUID(str(job)).hex in str(failed.value).replace("-", "")
    assert count_stored(runtime) == 2
