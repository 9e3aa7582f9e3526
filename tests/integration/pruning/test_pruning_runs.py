"""Runs of pruning on real rows and files: what they remove, and what is left when they die between two steps."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import ActionItem, Artifact, transitions
from models.db.session import transaction
from rushes.errors import Unavailable
from rushes.jobs.pruning import Keep, Pruned, prune, prune_by_settings
from rushes.monitoring.audit import audit_files, audit_rows
from rushes.runtime import Runtime
from rushes.settings import Settings
from tests.support import rows
from tests.support.lying_provider import Died
from tests.support.mortal_sessions import MortalSessions
from tests.support.rows import DAY, HOUR
from tests.support.runtimes import ask, change

LONG_AGO = -10 * DAY
OLD = Keep(rows=8 * DAY)
CONTENT = b"a video"


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime of a worker that never calls the provider."""
    settings = Settings(database_url=database_url, data_dir=tmp_path)  # type: ignore[arg-type]
    opened = Runtime.open(settings.with_changes(keep_files_days=9), threads=1, application="test")
    yield opened
    opened.close()


def add_stored_job(runtime: Runtime, name: str, *, kind: str = "video", batch: UUID | None = None) -> UUID:
    """A job that ended ten days ago, with a file of this name."""
    draft = runtime.store.scratch() / "draft"
    draft.write_bytes(CONTENT)
    (url,) = runtime.store.publish((draft, name))
    state = "succeeded" if kind == "video" else "failed"
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=2, submits_per_minute=60)
        place = {"batch_id": batch, "number": 1 if batch else None}
        job = rows.add_job(session, state, ended_at=LONG_AGO, created_at=LONG_AGO, **place)
        rows.add_event(session, f"job.{state}", job_id=job)
        times: dict[str, Any] = dict.fromkeys(("posted_at", "accepted_at", "ended_at"), LONG_AGO)
        prediction = rows.add_prediction(session, job, account, "completed", **times)
        file = {"url": url, "kind": kind, "bytes": len(CONTENT), "created_at": LONG_AGO}
        rows.add_artifact(session, job, prediction, **file)
    return job


def add_batch(runtime: Runtime, name: str = "pilot") -> UUID:
    with transaction(runtime.sessions) as session:
        return rows.insert(session, "batch", name=name, job_count=1, created_at=LONG_AGO)


def list_files(runtime: Runtime) -> set[str]:
    root = runtime.settings.get_artifacts_folder()
    return {path.as_uri() for path in root.rglob("*") if path.is_file()}


def summarise(runtime: Runtime) -> tuple[int, Decimal]:
    """The jobs that have a row, and everything that was ever spent."""
    ((jobs, spent, removed),) = ask(
        runtime,
        """SELECT (SELECT count(*) FROM job),
            (SELECT coalesce(sum(price), 0) FROM prediction WHERE NOT counted),
            (SELECT coalesce(sum(spent), 0) FROM daily_total)""",
    )
    return jobs, spent + removed


def test_old_jobs_go_with_their_files_and_the_audit_finds_nothing(runtime: Runtime) -> None:
    add_stored_job(runtime, "jobs/a.mp4")
    add_stored_job(runtime, "pilot/1-a.mp4", batch=add_batch(runtime))
    assert prune(runtime, OLD) == Pruned(jobs=2, predictions=2, events=2, batches=0, files=2, misplaced=0, done=True)
    assert list_files(runtime) == set()
    assert summarise(runtime) == (0, Decimal("0.72"))
    change(runtime, "batch", deleted_at=-2 * HOUR)
    assert prune(runtime, OLD).batches == 1
    assert prune(runtime, OLD) == Pruned(0, 0, 0, batches=0, files=0, misplaced=0, done=True)


def test_files_go_by_their_own_setting_and_rows_stay(runtime: Runtime) -> None:
    add_stored_job(runtime, "jobs/a.mp4")
    line = prune_by_settings(runtime, must_stop=lambda: False)
    assert line == "jobs 0, predictions 0, events 0, batches 0, files 1, misplaced 0, done True"
    assert (list_files(runtime), summarise(runtime)) == (set(), (1, Decimal("0.36")))
    with transaction(runtime.sessions) as session:
        findings = [*audit_rows(session), *audit_files(session, runtime.store)]
    assert {each.name for each in findings if each.is_broken} == set()
    assert prune(runtime, OLD).jobs == 1


def test_an_unverified_file_and_its_batch_stay(runtime: Runtime) -> None:
    add_stored_job(runtime, "pilot/1-a.unverified", kind="unverified", batch=add_batch(runtime))
    add_stored_job(runtime, "jobs/a.unverified", kind="unverified")
    assert prune(runtime, OLD) == Pruned(0, 0, 0, batches=0, files=0, misplaced=0, done=True)
    assert len(list_files(runtime)) == 2


def test_a_store_that_is_not_mounted_loses_no_row(runtime: Runtime) -> None:
    add_stored_job(runtime, "jobs/a.mp4")
    root = runtime.settings.get_artifacts_folder()
    elsewhere = shutil.move(root, root.with_name("elsewhere"))
    with pytest.raises(Unavailable):
        prune(runtime, OLD)
    assert summarise(runtime) == (1, Decimal("0.36"))
    shutil.move(elsewhere, root)
    assert prune(runtime, OLD).jobs == 1
    assert list_files(runtime) == set()


def test_a_file_outside_the_store_keeps_its_row_and_holds_nothing_up(runtime: Runtime) -> None:
    outside = add_stored_job(runtime, "jobs/a.mp4")
    add_stored_job(runtime, "jobs/b.mp4")
    change(runtime, "artifact", Artifact.job_id == outside, url="file:///another/store/jobs/a.mp4")
    pruned = prune(runtime, OLD)
    assert (pruned.jobs, pruned.files, pruned.misplaced, pruned.done) == (1, 1, 1, True)
    assert ask(runtime, "SELECT id FROM job") == [(outside,)]


def test_a_run_ends_when_it_must_stop_and_the_next_one_continues(runtime: Runtime) -> None:
    for number in range(3):
        add_stored_job(runtime, f"jobs/{number}.mp4")
    stopped = prune(runtime, OLD, must_stop=lambda: True)
    assert not stopped.done
    prune(runtime, OLD)
    assert summarise(runtime) == (0, 3 * Decimal("0.36"))


class MortalStore:
    """A store whose process may die right before or right after it removes a file, at a point of its sessions."""

    def __init__(self, runtime: Runtime, sessions: MortalSessions) -> None:
        self._store = runtime.store
        self._sessions = sessions

    def remove(self, url: str) -> None:
        self._sessions.pass_a_point()
        self._store.remove(url)
        self._sessions.pass_a_point()

    def require_marker(self, marker: str | None) -> None:
        self._store.require_marker(marker)

    def keep_removed(self, urls: Iterable[str]) -> None:
        self._store.keep_removed(urls)


def find_lies(runtime: Runtime) -> list[object]:
    """Files without a row that names them, and rows that promise a file which is gone."""
    named = {url for (url,) in ask(runtime, "SELECT url FROM artifact WHERE url IS NOT NULL")}
    promised = {url for (url,) in ask(runtime, "SELECT url FROM artifact WHERE removed_at IS NULL")}
    files = list_files(runtime)
    return [*(files - named), *(promised - files)]


def test_a_process_that_dies_at_any_point_loses_nothing_and_leaks_nothing(runtime: Runtime) -> None:
    deaths = point = 0
    while deaths == point:
        for name, batch in (("jobs/a.mp4", None), (f"b{point}/1-a.mp4", add_batch(runtime, f"b{point}"))):
            add_stored_job(runtime, name, batch=batch)
        mortal = MortalSessions(runtime.sessions)
        dying = replace(runtime, sessions=mortal)  # type: ignore[arg-type]
        dying.__dict__["store"] = MortalStore(runtime, mortal)
        mortal.points_left = point
        try:
            prune(dying, OLD)
        except Died:
            deaths += 1
        assert find_lies(runtime) == [], point
        prune(runtime, OLD)
        point += 1
        assert list_files(runtime) == set()
        assert summarise(runtime) == (0, point * 2 * Decimal("0.36"))
    assert deaths > 20


def test_a_retention_of_files_beyond_that_of_rows_keeps_none(runtime: Runtime) -> None:
    add_stored_job(runtime, "jobs/a.mp4")
    assert prune(runtime, Keep(rows=8 * DAY, files=timedelta(days=365))).files == 1


def test_an_old_action_goes_with_the_last_job_that_it_reached(runtime: Runtime) -> None:
    job = add_stored_job(runtime, "a.mp4")
    with transaction(runtime.sessions) as session:
        ended: dict[str, Any] = {"kind": "pause", "state": "done", "chosen": {}, "requested_by": "mara", "cost": 0}
        ids = [rows.insert(session, "action", **ended, matched=1, ended_at=at) for at in (LONG_AGO, LONG_AGO, -DAY)]
        session.add(ActionItem(action_id=ids[0], job_id=job, outcome="pause"))

    def prune_once(keep: Keep) -> list[UUID]:
        prune(runtime, keep)
        return [each for (each,) in ask(runtime, "SELECT id FROM action ORDER BY id")]

    assert prune_once(Keep()) == sorted(ids)
    assert prune_once(OLD) == [ids[2]]
