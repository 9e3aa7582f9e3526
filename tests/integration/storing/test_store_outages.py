"""A database that is away while a video is stored says nothing against the video."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import transitions
from models.db.errors import DatabaseAway
from models.db.session import transaction
from models.transitions.storing.claims import MAX_STORE_CRASHES
from rushes.runtime import Runtime
from rushes.settings import Settings
from rushes.storing import store as storing
from rushes.storing.store import store_output
from tests.support import rows
from tests.support.rows import SECOND

LEASE = timedelta(seconds=20)


@pytest.fixture
def runtime(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(storing, "AWAY_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(storing, "RENEW_SECONDS", 0.0)
    settings = Settings(database_url=database_url, data_dir=tmp_path, wavespeed_api_key="wsk_1")
    opened = Runtime.open(settings, threads=2, application="test")
    yield opened
    opened.close()


@pytest.fixture
def prediction_id(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return rows.add_render(session, "completed").prediction_id


def claim(runtime: Runtime) -> int:
    with transaction(runtime.sessions) as session:
        (claimed,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
    return claimed.claim


def take_back(runtime: Runtime, prediction_id: UUID) -> None:
    """Its lease runs out while it stores."""
    with transaction(runtime.sessions) as session:
        rows.change(session, "prediction", prediction_id, due_at=-SECOND)
        transitions.claims.take_back_stores(session, count=5)


def go_through_an_outage(monkeypatch: pytest.MonkeyPatch, step: Callable[[], str], *, meanwhile: Any) -> None:
    """The database is away from the first bytes on, for three tries to hand the step back."""
    away = iter([True] * 3)

    def make_away_at_first(enter: Callable[..., Any]) -> Callable[..., Any]:
        return lambda sessions: be_away(sessions) if next(away, False) else enter(sessions)

    with monkeypatch.context() as patch:

        def download(*_: object, keep_going: Callable[[], None], **__: object) -> Any:
            meanwhile()
            for name in ("transaction", "one_statement"):
                patch.setattr(storing, name, make_away_at_first(getattr(storing, name)))
            keep_going()

        patch.setattr(storing, "store_video", download)
        with pytest.raises(DatabaseAway):
            step()


def be_away(_: object) -> Any:
    raise DatabaseAway("the database cannot be reached")


def store_through_an_outage(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, prediction_id: UUID, *, meanwhile: Any
) -> None:
    own = claim(runtime)
    go_through_an_outage(
        monkeypatch, lambda: store_output(runtime, prediction_id, own, must_stop=lambda: False), meanwhile=meanwhile
    )


def events(runtime: Runtime, prediction_id: UUID) -> list[str]:
    with transaction(runtime.sessions) as session:
        return rows.kinds(session, prediction_id=prediction_id)


def test_a_step_whose_database_was_away_is_handed_back_once_it_is_back(
    runtime: Runtime, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_through_an_outage(runtime, monkeypatch, prediction_id, meanwhile=lambda: None)
    assert events(runtime, prediction_id) == ["store.delayed"]
    with transaction(runtime.sessions) as session:
        output = rows.read(session, "prediction", prediction_id)
    assert (output["begun_at"], output["error_code"]) == (None, "database_away")
    assert claim(runtime)  # due at once


def test_outages_that_outlast_the_lease_never_quarantine_a_job(
    runtime: Runtime, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MAX_STORE_CRASHES + 1):
        store_through_an_outage(
            runtime, monkeypatch, prediction_id, meanwhile=lambda: take_back(runtime, prediction_id)
        )
    assert events(runtime, prediction_id) == ["store.crashed", "store.delayed"] * (MAX_STORE_CRASHES + 1)
    with transaction(runtime.sessions) as session:
        assert rows.read(session, "prediction", prediction_id)["due_at"] is not None


def test_a_crash_is_excused_once_also_after_a_later_crash(runtime: Runtime, prediction_id: UUID) -> None:
    def begin() -> int:
        with transaction(runtime.sessions) as session:
            (own,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
            transitions.steps.begin_store(session, prediction_id, own.claim, lease=LEASE)
        return own.claim

    own = begin()

    def excuse(claim: int) -> bool:
        with transaction(runtime.sessions) as session:
            return transitions.steps.excuse_store(session, prediction_id, claim, reason=storing.AWAY)

    assert not excuse(own)  # it still has its claim
    take_back(runtime, prediction_id)
    begin()
    take_back(runtime, prediction_id)
    assert [excuse(own), excuse(own)] == [True, False]
    with transaction(runtime.sessions) as session:
        assert rows.read(session, "prediction", prediction_id)["store_crashes"] == 0


def test_a_step_ends_its_wait_for_the_database_when_its_worker_does(
    runtime: Runtime, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, keep_going: Callable[[], None], **__: object) -> Any:
        monkeypatch.setattr(storing, "transaction", be_away)
        keep_going()

    own = claim(runtime)
    monkeypatch.setattr(storing, "store_video", download)
    with pytest.raises(DatabaseAway):
        store_output(runtime, prediction_id, own, must_stop=lambda: True)


def test_a_second_message_that_cannot_begin_leaves_the_step_to_the_first(
    runtime: Runtime, prediction_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = claim(runtime)
    with transaction(runtime.sessions) as session:
        assert transitions.steps.begin_store(session, prediction_id, own, lease=LEASE)
    monkeypatch.setattr(storing, "one_statement", be_away)
    with pytest.raises(DatabaseAway):
        store_output(runtime, prediction_id, own, must_stop=lambda: False)
    with transaction(runtime.sessions) as session:
        assert transitions.steps.renew_store(session, prediction_id, own, lease=LEASE)
    assert events(runtime, prediction_id) == []
