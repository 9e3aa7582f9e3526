"""A database that is away while a video is stored says nothing against the video."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import transitions
from models.errors import DatabaseAway
from models.session import transaction
from models.transitions.storing import MOST_SILENCES
from rushes import copying, storing
from rushes.runtime import Runtime
from rushes.settings import Settings
from rushes.storing import store_job
from tests import rows
from tests.rows import SECOND

LEASE = timedelta(seconds=20)


@pytest.fixture
def runtime(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(storing, "AWAY_PAUSE_SECONDS", 0.01)
    settings = Settings(database_url=database_url, data_dir=tmp_path, wavespeed_api_key="wsk_1")
    opened = Runtime.open(settings, threads=2, application="test")
    yield opened
    opened.close()


@pytest.fixture
def job_id(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return rows.add_render(session, "completed").job_id


def claim(runtime: Runtime) -> int:
    with transaction(runtime.sessions) as session:
        (claimed,) = transitions.claim_stores(session, count=1, lease=LEASE)
    return claimed.claim


def take_back(runtime: Runtime, job_id: UUID) -> None:
    """Its lease runs out while it stores."""
    with transaction(runtime.sessions) as session:
        rows.change(session, "job", job_id, due_at=-SECOND)
        transitions.take_back_stores(session, count=5)


def store_through_an_outage(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, job_id: UUID, *, meanwhile: Any) -> None:
    """The database is away from the first bytes on, for three tries to hand the step back."""
    away = iter([True] * 3)
    enter: Callable[..., Any] = storing.transaction

    def be_away(sessions: Any) -> Any:
        if next(away, False):
            raise DatabaseAway("the database cannot be reached")
        return enter(sessions)

    def download(*_: object, keep_going: Callable[[], None], **__: object) -> Any:
        meanwhile()
        for module in (copying, storing):
            monkeypatch.setattr(module, "transaction", be_away)
        keep_going()

    with monkeypatch.context() as patch:
        patch.setattr(copying, "store_video", download)
        with pytest.raises(DatabaseAway):
            store_job(runtime, job_id, claim(runtime), must_stop=lambda: False)
    for module in (copying, storing):
        monkeypatch.setattr(module, "transaction", enter)


def events(runtime: Runtime, job_id: UUID) -> list[str]:
    with transaction(runtime.sessions) as session:
        return rows.kinds(session, job_id=job_id)


def test_a_step_whose_database_was_away_is_handed_back_once_it_is_back(
    runtime: Runtime, job_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_through_an_outage(runtime, monkeypatch, job_id, meanwhile=lambda: None)
    assert events(runtime, job_id) == ["store.delayed"]
    with transaction(runtime.sessions) as session:
        job = rows.read(session, "job", job_id)
    assert (job["state"], job["begun_at"], job["error_code"]) == ("storing", None, "database_away")
    assert claim(runtime)  # due at once


def test_outages_that_outlast_the_lease_never_park_a_job(
    runtime: Runtime, job_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MOST_SILENCES + 1):
        store_through_an_outage(runtime, monkeypatch, job_id, meanwhile=lambda: take_back(runtime, job_id))
    assert events(runtime, job_id) == ["store.silent", "store.delayed"] * (MOST_SILENCES + 1)
    with transaction(runtime.sessions) as session:
        assert rows.read(session, "job", job_id)["state"] == "storing"


def test_a_silence_is_excused_only_by_its_own_claim(runtime: Runtime, job_id: UUID) -> None:
    own = claim(runtime)
    with transaction(runtime.sessions) as session:
        transitions.begin_store(session, job_id, own, lease=LEASE)
    take_back(runtime, job_id)
    with transaction(runtime.sessions) as session:
        excuses = [transitions.excuse_store(session, job_id, each, reason=("x", "y")) for each in (own - 1, own)]
    assert excuses == [False, True]


def test_a_step_ends_its_wait_for_the_database_when_its_worker_does(
    runtime: Runtime, job_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_away(_: object) -> Any:
        raise DatabaseAway("the database cannot be reached")

    own = claim(runtime)
    monkeypatch.setattr(storing, "transaction", be_away)
    with pytest.raises(DatabaseAway):
        store_job(runtime, job_id, own, must_stop=lambda: True)
