"""Store workers report problems of their folder, and Rushes buys nothing that it cannot store."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import queries, transitions
from models.db.session import transaction
from models.tables.worker import StoreState
from rushes.access.callers import act_locally
from rushes.account_status import find_account_status
from rushes.accounts import accept_store, get_account
from rushes.errors import Conflict, Unavailable
from rushes.jobs.batches import get_batch
from rushes.jobs.pruning import Keep, prune
from rushes.jobs.views import get_job
from rushes.monitoring.reports import describe_farm
from rushes.readiness import check_readiness
from rushes.runtime import ACCOUNT, Runtime
from rushes.storing import store_check
from rushes.storing.failures import StoreDelayed
from rushes.storing.store import store_output
from rushes.storing.store_check import StoreCheck, check_store
from tests.support import rows
from tests.support.output_host import OutputHost
from tests.support.platforms import small_disk
from tests.support.rows import MINUTE
from tests.support.runtimes import LEASE, ask, change
from tests.support.videos import make_video

WELL = StoreState(None, 10**12)
FULL = StoreState("the disk is full", 0)
MARKER = ".rushes-store"


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, ACCOUNT, slots=100, submits_per_minute=1000)


@pytest.fixture
def folder(runtime: Runtime) -> Path:
    return runtime.settings.get_artifacts_folder()


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "film.mp4", audio=False).read_bytes()


def report(runtime: Runtime, name: str, state: StoreState) -> None:
    with transaction(runtime.sessions) as session:
        transitions.leadership.see_worker(session, name, queues=["store"], threads=4, store=state)


def is_held(runtime: Runtime, account: UUID) -> bool:
    with transaction(runtime.sessions) as session:
        room = transitions.admission.count_free_slots(session, account)
    assert room is not None
    assert (room.count_admissible(10) == 0) == room.is_held
    return room.is_held


def store_one(runtime: Runtime, account: UUID, host: OutputHost, film: bytes) -> None:
    """Store the video of one prediction, whose step is due."""
    with transaction(runtime.sessions) as session:
        rows.add_render(session, "completed", account_id=account, outputs=[host.offer("1.mp4", film)])
        (claimed,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
    store_output(runtime, claimed.prediction_id, claimed.claim, must_stop=lambda: False)


def test_the_first_check_marks_the_folder_and_later_ones_know_it(runtime: Runtime, account: UUID, folder: Path) -> None:
    assert check_store(runtime).problem is None
    marker = (folder / MARKER).read_text().strip()
    assert ask(runtime, "SELECT store_marker FROM account") == [(marker,)]
    assert check_store(runtime).problem is None
    assert (folder / MARKER).read_text().strip() == marker


def test_a_new_database_adopts_the_marker_of_its_folder(runtime: Runtime, account: UUID, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / MARKER).write_text("an earlier one\n")
    assert check_store(runtime).problem is None
    assert ask(runtime, "SELECT store_marker FROM account") == [("an earlier one",)]


@pytest.mark.parametrize("found", [None, "of another store\n"])
def test_a_volume_that_is_not_mounted_gets_no_video_and_loses_none(
    runtime: Runtime, account: UUID, folder: Path, host: OutputHost, film: bytes, found: str | None
) -> None:
    check_store(runtime)
    (folder / MARKER).unlink()
    if found is not None:
        (folder / MARKER).write_text(found)
    problem = check_store(runtime).problem
    assert problem is not None
    assert str(folder) in problem
    assert "Mount the volume, or run `rushes account accept-store`" in problem
    with pytest.raises(StoreDelayed, match="is not the folder that keeps the videos"):
        store_one(runtime, account, host, film)
    assert not list(folder.rglob("*.mp4"))
    with transaction(runtime.sessions) as session:
        render = rows.add_render(session, "completed", account_id=account)
        rows.change(session, "job", state="succeeded", ended_at=-30 * 24 * 60 * MINUTE)
        url = (folder / "1.mp4").as_uri()
        rows.add_artifact(session, render.job_id, render.prediction_id, url=url, removed_at=-MINUTE)
    with pytest.raises(Unavailable):
        prune(runtime, Keep())
    assert ask(runtime, "SELECT count(*) FROM artifact WHERE url IS NOT NULL") == [(1,)]


def test_a_person_accepts_a_new_folder(
    runtime: Runtime, account: UUID, folder: Path, host: OutputHost, film: bytes
) -> None:
    check_store(runtime)
    (folder / MARKER).unlink()
    assert check_store(runtime).problem
    accept_store(runtime.sessions, caller=act_locally("mara"))
    assert check_store(runtime).problem is None
    store_one(runtime, account, host, film)
    assert len(list(folder.rglob("*.mp4"))) == 1
    assert ask(runtime, "SELECT detail FROM event WHERE kind = 'account.store_accepted'") == [({"by": "mara"},)]
    change(runtime, "account", store_marker=None)
    with pytest.raises(Conflict):
        accept_store(runtime.sessions, caller=act_locally("mara"))


def test_jobs_are_admitted_while_one_store_worker_can_store(runtime: Runtime, account: UUID) -> None:
    assert not is_held(runtime, account)  # no worker stores yet
    report(runtime, "store-1", FULL)
    assert is_held(runtime, account)
    report(runtime, "store-2", WELL)
    assert not is_held(runtime, account)
    change(runtime, "worker", seen_at=-MINUTE)
    assert is_held(runtime, account)  # a disk is not free because its worker died
    report(runtime, "store-1", WELL)
    assert not is_held(runtime, account)


def test_no_render_is_bought_while_videos_wait_without_a_store_worker(runtime: Runtime, account: UUID) -> None:
    with transaction(runtime.sessions) as session:
        rows.add_render(session, "completed", account_id=account, due_at=-MINUTE / 2)
    assert not is_held(runtime, account)  # a restart of the store workers stops no submissions
    change(runtime, "prediction", due_at=-2 * MINUTE)
    assert is_held(runtime, account)
    with transaction(runtime.sessions) as session:
        assert "no store worker is running" in find_account_status(session, ACCOUNT).message
    report(runtime, "store-1", WELL)
    assert not is_held(runtime, account)


def test_a_worker_that_stores_nothing_says_nothing_about_the_store(runtime: Runtime, account: UUID) -> None:
    report(runtime, "store-1", FULL)
    with transaction(runtime.sessions) as session:
        transitions.leadership.see_worker(session, "main-1", queues=["submit"], threads=4)
    assert is_held(runtime, account)


def test_every_surface_names_the_problem_of_the_store(runtime: Runtime, account: UUID) -> None:
    with transaction(runtime.sessions) as session:
        batch = rows.insert(session, "batch", name="pilot", job_count=1)
        job = rows.add_job(session, "queued", batch_id=batch, number=1)
        transitions.leadership.lead(session, "main-1", lease=LEASE)
    report(runtime, "store-1", FULL)
    problem = FULL.problem or ""
    wait = get_job(runtime.sessions, job, explained=True).wait
    assert wait is not None
    assert problem in wait.message
    assert problem in describe_farm(runtime)
    assert check_readiness(runtime.sessions).store == FULL
    assert get_account(runtime.sessions).summary.store == FULL
    batch_account = get_batch(runtime.sessions, batch, forecaster=runtime.forecaster).account
    assert problem in (batch_account.message if batch_account else "")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", megabytes=2) as mounted:
        yield mounted


@pytest.fixture
def on_small_disk(runtime: Runtime, small: Path) -> Iterator[Runtime]:
    settings = runtime.settings.with_changes(artifacts_url=(small / "videos").as_uri(), disk_reserve=1_000_000)
    opened = Runtime.open(settings, threads=2, application="test")
    yield opened
    opened.close()


def test_a_disk_below_its_reserve_stops_purchases_and_still_stores(
    on_small_disk: Runtime, account: UUID, host: OutputHost, film: bytes, small: Path
) -> None:
    free = check_store(on_small_disk).free_bytes
    assert free is not None
    assert 1_500_000 < free < 2_100_000
    (small / "other").write_bytes(b"x" * 1_300_000)
    state = check_store(on_small_disk)
    assert state.problem is not None
    assert "less than the reserve of 1.0MB (RUSHES_DISK_RESERVE)" in state.problem
    report(on_small_disk, "store-1", state)
    assert is_held(on_small_disk, account)
    store_one(on_small_disk, account, host, film)
    assert len(list(small.rglob("*.mp4"))) == 1
    (small / "other").unlink()
    report(on_small_disk, "store-1", check_store(on_small_disk))
    assert not is_held(on_small_disk, account)


def test_a_full_disk_is_reported_and_keeps_no_part_of_a_video(
    on_small_disk: Runtime, account: UUID, host: OutputHost, film: bytes, small: Path
) -> None:
    check_store(on_small_disk)
    (small / "other").write_bytes(b"x" * check_store(on_small_disk).free_bytes)  # type: ignore[operator]
    state = check_store(on_small_disk)
    assert "is full" in (state.problem or "")
    with pytest.raises(StoreDelayed, match="is full"):
        store_one(on_small_disk, account, host, film)
    assert not [path for path in (small / "videos").rglob("*") if path.is_file() and path.name != MARKER]


@pytest.fixture
def check(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreCheck]:
    monkeypatch.setattr(store_check, "CHECK_SECONDS", 0.01)
    made = StoreCheck(runtime, stores=True)
    yield made
    made.stop()


def test_a_volume_that_hangs_is_a_problem(check: StoreCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(store_check, "check_store", lambda runtime: released.wait(60) and WELL)
    monkeypatch.setattr(store_check, "FIRST_SECONDS", 0.01)
    check.start()
    assert "has not answered for" in (check.get_state().problem or "")
    released.set()
    check._first.wait(60)
    assert check.get_state() == WELL


def test_the_log_has_a_line_at_the_start_and_the_end(check: StoreCheck, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []

    class Log:
        def error(self, event: str, **details: Any) -> None:
            lines.append((event, details))

        info = error

    monkeypatch.setattr(store_check, "log", Log())
    states = iter([WELL, FULL, FULL, WELL])
    done = threading.Event()

    def next_state(runtime: Runtime) -> StoreState:
        state = next(states, None)
        if state is None:
            done.set()
        return state or WELL

    monkeypatch.setattr(store_check, "check_store", next_state)
    check.start()
    assert done.wait(60)
    assert [line for line in lines if line[0] != "store.tidied"] == [
        ("store.unusable", {"problem": "the disk is full"}),
        ("store.usable", {"free_bytes": 10**12}),
    ]


def test_a_process_that_stores_nothing_checks_nothing(runtime: Runtime, folder: Path) -> None:
    idle = StoreCheck(runtime, stores=False)
    idle.start()
    assert idle.get_state() == (None, None)
    assert not folder.exists()
    with transaction(runtime.sessions) as session:
        assert queries.storing.find_store_state(session) == (None, None)
