"""A backlog of files to store: what a worker may take without the dispatcher, and how much the dispatcher hands out."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from models import queries, transitions
from tests.support import rows
from tests.support.rows import MINUTE, NOW, SECOND

LEASE = timedelta(seconds=20)


def begin_next(session: Session) -> Any:
    ticket = transitions.steps.begin_next_store(session, lease=LEASE)
    return ticket and ticket.prediction_id


def test_a_worker_takes_the_download_that_has_waited_longest(scratch: Session) -> None:
    account = rows.add_account(scratch)
    later, first = (
        rows.add_render(scratch, "completed", account_id=account, due_at=-seconds * SECOND).prediction_id
        for seconds in (5, 9)
    )
    assert [begin_next(scratch) for _ in range(3)] == [first, later, None]
    begun = rows.read(scratch, "prediction", first)
    assert (begun["claim"], begun["store_attempts"]) == (1, 1)
    assert begun["begun_at"] is not None


def test_a_step_that_a_worker_took_is_taken_back_after_its_lease(scratch: Session) -> None:
    """The claim and the beginning are one statement, so a worker that dies next leaves what any dead step leaves."""
    render = rows.add_render(scratch, "completed")
    assert begin_next(scratch) == render.prediction_id
    assert not transitions.claims.take_back_stores(scratch, count=5)
    rows.change(scratch, "prediction", render.prediction_id, due_at=-SECOND)
    assert begin_next(scratch) is None
    (crashed,) = transitions.claims.take_back_stores(scratch, count=5)
    assert (crashed.prediction_id, crashed.crashes) == (render.prediction_id, 1)


@pytest.mark.parametrize(
    "columns", [{"store_crashes": 1}, {"rechecks": True}, {"due_at": SECOND}, {"begun_at": NOW, "due_at": -SECOND}]
)
def test_steps_with_an_order_of_their_own_are_left_to_the_dispatcher(scratch: Session, columns: Any) -> None:
    rows.add_render(scratch, "completed", **columns)
    assert begin_next(scratch) is None


def test_no_worker_takes_a_download_during_an_outage_of_the_host(scratch: Session) -> None:
    account = rows.add_account(scratch, outputs_failing_since=-MINUTE, outputs_probe_at=NOW)
    rows.add_render(scratch, "completed", account_id=account)
    assert begin_next(scratch) is None


def test_the_dispatcher_hands_out_no_more_steps_than_may_run(scratch: Session) -> None:
    account = rows.add_account(scratch)
    for _ in range(5):
        rows.add_render(scratch, "completed", account_id=account)
    assert begin_next(scratch)
    assert begin_next(scratch)
    assert len(transitions.claims.claim_stores(scratch, count=9, lease=LEASE, most_running=3)) == 1
    assert not transitions.claims.claim_stores(scratch, count=9, lease=LEASE, most_running=1)
    assert len(transitions.claims.claim_stores(scratch, count=9, lease=LEASE)) == 2


def test_the_load_is_measured_from_the_rows(scratch: Session) -> None:
    assert queries.storing.measure_load(scratch) == (0, None, 0)
    account = rows.add_account(scratch)
    for _ in range(3):
        rows.add_render(scratch, "completed", account_id=account)
    render = rows.add_render(scratch, "completed", account_id=account)
    change: Any = {"due_at": None, "begun_at": -2 * SECOND}
    rows.change(scratch, "prediction", render.prediction_id, **change)
    rows.add_artifact(scratch, render.job_id, render.prediction_id)
    load = queries.storing.measure_load(scratch)
    assert (load.completions_per_second, load.waiting) == (0.4, 3)
    assert load.seconds_per_store == pytest.approx(2.0)
