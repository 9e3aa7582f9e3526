"""What a row of ours may have asked for is no orphan, however late its answer comes."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from models import transitions
from models.session import transaction
from models.transitions import SubmitTicket
from models.transitions.jobs import NewJob
from rushes.reconciling import reconcile_account
from rushes.runtime import Runtime
from rushes.settings import Settings
from rushes.wavespeed import Prediction
from sandbox.wavespeed import Simulator

LEASE = timedelta(seconds=60)
MODEL = "lightricks/ltx-2-fast/text-to-video"


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    with Simulator() as simulator:
        settings = Settings(
            database_url=database_url,
            data_dir=tmp_path,
            wavespeed_api_key=simulator.api_key,
            wavespeed_url=simulator.url,
        )
        opened = Runtime.open(settings, threads=2, application="test")
        yield opened
        opened.close()


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    """An account with one render, so that it is swept for orphans."""
    with transaction(runtime.sessions) as session:
        account = transitions.ensure_account(session, "default", slots=9, submits_per_minute=600)
    ticket = begin(runtime, account, "the first")
    accept(runtime, ticket, send(runtime, "the first"))
    return account


def begin(runtime: Runtime, account: UUID, prompt: str) -> SubmitTicket:
    """A submission whose `posted_at` is written."""
    with transaction(runtime.sessions) as session:
        transitions.insert_jobs(session, [NewJob(MODEL, {"prompt": prompt}, Decimal("0.24"), 0, 3)])
    with transaction(runtime.sessions) as session:
        transitions.admit_jobs(session, account, count=1)
        (claimed,) = transitions.claim_submits(session, account, count=1, lease=LEASE)
    with transaction(runtime.sessions) as session:
        ticket = transitions.begin_submit(session, claimed.prediction_id, claimed.claim, lease=LEASE)
    assert ticket is not None
    return ticket


def send(runtime: Runtime, prompt: str) -> Prediction:
    """The POST itself."""
    return runtime.client.submit(MODEL, {"prompt": prompt}, send_before=time.monotonic() + 10)


def accept(runtime: Runtime, ticket: SubmitTicket, answer: Prediction) -> None:
    """The answer is stored."""
    with transaction(runtime.sessions) as session:
        transitions.accept_prediction(
            session,
            ticket.prediction_id,
            provider_id=answer.id,
            provider_created_at=answer.created_at,
            watch_window=LEASE,
        )


def make_pass(runtime: Runtime, account: UUID) -> str:
    with transaction(runtime.sessions) as session:
        session.execute(text("UPDATE account SET reconcile_until = NULL, orphans_swept_at = NULL"))
        session.execute(text("UPDATE prediction SET due_at = now() WHERE state = 'unconfirmed'"))
        claim = transitions.claim_reconcile(session, account, lease=LEASE)
    assert claim is not None
    return reconcile_account(runtime, account, claim)


def post_while_listed(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, post: Callable[[], Any]) -> None:
    """The next list is read while this is posted."""
    list_predictions = runtime.client.list_predictions

    def list_after_post(**options: Any) -> Any:
        monkeypatch.undo()
        post()
        return list_predictions(**options)

    monkeypatch.setattr(runtime.client, "list_predictions", list_after_post)


def test_what_is_posted_while_the_list_is_read_is_no_orphan(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted: list[tuple[SubmitTicket, Prediction]] = []
    post_while_listed(runtime, monkeypatch, lambda: posted.append((begin(runtime, account, "a"), send(runtime, "a"))))
    assert make_pass(runtime, account).endswith("new orphans 0")

    accept(runtime, *posted[0])
    assert make_pass(runtime, account).endswith("new orphans 0")


def test_a_doubt_takes_nothing_that_an_equal_one_has_posted_meanwhile(
    runtime: Runtime, account: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = begin(runtime, account, "a")
    with transaction(runtime.sessions) as session:
        transitions.doubt_submit(session, doubt.prediction_id, 1, message="test")
    twins: list[tuple[SubmitTicket, Prediction]] = []
    post_while_listed(runtime, monkeypatch, lambda: twins.append((begin(runtime, account, "a"), send(runtime, "a"))))
    assert make_pass(runtime, account).startswith("adopted 0, absent 0, waiting 1")

    accept(runtime, *twins[0])
    send(runtime, "a")
    assert make_pass(runtime, account).startswith("adopted 1, absent 0, waiting 0")


def test_an_orphan_that_a_row_turns_out_to_have_asked_for_is_one_no_more(runtime: Runtime, account: UUID) -> None:
    stranger = send(runtime, "nobody's")
    with capture_logs() as logs:
        assert make_pass(runtime, account).endswith("new orphans 1")
        assert make_pass(runtime, account).endswith("new orphans 0")
    told = [(each["log_level"], each["provider_id"]) for each in logs if each["event"] == "account.orphan"]
    assert told == [("warning", stranger.id)]

    accept(runtime, begin(runtime, account, "nobody's"), stranger)
    with transaction(runtime.sessions) as session:
        assert session.execute(text("SELECT provider_id FROM orphan")).all() == []
