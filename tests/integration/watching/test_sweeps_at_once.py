"""Two sweeps at once: what one page shows as over the other may only hint at, and neither waits for the other."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from models import transitions
from models.db.session import Sessions, transaction
from models.tables.base import new_id
from rushes.runtime import Runtime
from rushes.watching.sweep import sweep_account
from rushes.wavespeed.predictions import PredictionPage, PredictionStatus, ProviderPrediction
from tests.support import rows
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.rows import MINUTE
from tests.support.runtimes import ask

LATE, TIMELY = "late", "timely"


@pytest.fixture
def renders(runtime: Runtime) -> list[UUID]:
    with transaction(runtime.sessions) as session:
        account = transitions.accounts.ensure_account(session, "default", slots=9, submits_per_minute=600)
        found = [rows.add_render(session, "rendering", account_id=account, provider_id=each) for each in ("r1", "r2")]
        for each in found:
            rows.change(session, "prediction", each.prediction_id, provider_created_at=-MINUTE, accepted_at=-MINUTE)
    return sorted(each.prediction_id for each in found)


def show_pages(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The late list shows the first render as failed, which leads to a hint; the timely one both as completed."""
    done = ProviderPrediction("r1", PredictionStatus.COMPLETED, outputs=("https://example.com/x.mp4",))
    pages = {
        LATE: [replace(done, id="r2"), ProviderPrediction("r1", PredictionStatus.FAILED)],
        TIMELY: [replace(done, id="r2"), done],
    }

    def list_predictions(**_: object) -> PredictionPage:
        return PredictionPage(tuple(pages[threading.current_thread().name]), unreadable=0, is_last=True)

    monkeypatch.setattr(runtime.client, "list_predictions", list_predictions)


def meet_after_the_first_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sweep holds the first row that it completes until the other one holds its own."""
    complete, both, met = transitions.renders.complete_prediction, threading.Barrier(2), threading.local()

    def complete_and_meet(*given: Any, **also: Any) -> bool:
        moved = complete(*given, **also)
        if not getattr(met, "once", False):
            met.once = True
            both.wait(timeout=20)
        return moved

    monkeypatch.setattr(transitions.renders, "complete_prediction", complete_and_meet)


def test_two_pages_that_move_the_same_renders_do_not_deadlock(
    runtime: Runtime, renders: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_pages(runtime, monkeypatch)
    meet_after_the_first_completion(monkeypatch)
    ((account,),) = ask(runtime, "SELECT id FROM account")
    now = datetime.now(UTC).timestamp()

    def sweep(name: str) -> None:
        threading.current_thread().name = name
        sweep_account(runtime, account, created_after=now - 3600, created_before=now)

    with ThreadPoolExecutor(2) as pool:
        for sweeping in [pool.submit(sweep, LATE), pool.submit(sweep, TIMELY)]:
            sweeping.result(timeout=60)
    assert ask(runtime, "SELECT state FROM prediction") == [("completed",)] * 2
    assert ask(runtime, "SELECT kind, count FROM stale_write") == [("sweep.outcome", 1)]


def test_early_check_requests_lock_their_rows_in_the_order_of_ids(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        account, first, last = rows.add_account(session), new_id(), new_id()
        for each in last, first:  # so that the table has them in this order
            rows.add_render(session, "rendering", account_id=account, id=each)

    def hint() -> int:
        with transaction(sessions) as session:
            session.execute(text("SET LOCAL enable_indexscan = off"))  # which goes by the ids on its own
            return transitions.renders.request_early_checks(session, [first, last])

    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as session:
            session.execute(text("SELECT 1 FROM prediction WHERE id = :id FOR UPDATE"), {"id": first})
            requested = pool.submit(hint)
            wait_for_a_blocked_statement(sessions)
            with transaction(sessions) as other:
                free = other.scalars(text("SELECT id FROM prediction FOR UPDATE SKIP LOCKED")).all()
        assert (list(free), requested.result(timeout=20)) == ([last], 2)
