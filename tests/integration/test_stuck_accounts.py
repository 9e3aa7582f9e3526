"""An account is stuck while it refuses what waits for it, not because a refusal was never answered by a submission."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import queries, transitions
from models.queries import Health
from tests import rows
from tests.rows import MINUTE, NOW, SECOND

REFUSED = {"deferrals": 1, "deferred_reason": "key", "deferred_detail": "401", "deferred_since": -20 * MINUTE}
OVER, LASTS = {"deferred_until": -5 * MINUTE}, {"deferred_until": MINUTE}


def refuse(session: Session, **columns: Any) -> UUID:
    return rows.add_account(session, name="default", **REFUSED | columns)


def see(session: Session) -> tuple[Health, str | None]:
    """What is told of the health, and of the account."""
    account = queries.summarise_account(session, "default")
    assert account is not None
    return queries.find_health(session), account.deferred


def test_a_refusal_whose_hold_is_over_is_no_alarm_while_nothing_waits(scratch: Session) -> None:
    account = refuse(scratch, **OVER)
    rows.add_render(scratch, "rendering", account_id=account)
    health, deferred = see(scratch)
    assert (health.deferred, health.deferred_seconds, deferred) == (None, None, None)


@pytest.mark.parametrize("why", ["the hold lasts", "looks fail", "queued", "submitting"])
def test_a_refused_account_is_stuck_while_something_waits_for_it(scratch: Session, why: str) -> None:
    account = refuse(scratch, **LASTS if why == "the hold lasts" else OVER, look_failures=int(why == "looks fail"))
    since = {"created_at": -30 * MINUTE}
    if why == "queued":
        rows.add_job(scratch, due_at=timedelta(hours=1), **since)
    elif why == "submitting":
        rows.change(scratch, "job", rows.add_render(scratch, "submitting", account_id=account).job_id, **since)
    health, deferred = see(scratch)
    assert health.deferred == deferred == "key: 401"
    assert health.deferred_seconds == pytest.approx(20 * MINUTE / SECOND)


@pytest.mark.parametrize("state", ["queued", "submitting"])
def test_what_was_pushed_long_after_a_refusal_has_not_waited_since_then(scratch: Session, state: str) -> None:
    account = refuse(scratch, **OVER)
    if state == "queued":
        rows.add_job(scratch, created_at=NOW)
    else:
        rows.add_render(scratch, "submitting", account_id=account)
    health, _ = see(scratch)
    assert health.deferred == "key: 401"
    assert health.deferred_seconds == 0


def test_what_is_retried_long_after_the_last_hold_is_not_stuck_before_it_was_tried(scratch: Session) -> None:
    refuse(scratch, deferred_until=-15 * MINUTE)
    rows.add_job(scratch, created_at=-30 * MINUTE, due_at=NOW)
    health, deferred = see(scratch)
    assert (health.deferred, health.deferred_seconds, deferred) == (None, None, None)


@pytest.mark.parametrize(("ago", "stuck"), [(5 * MINUTE, 20 * MINUTE), (15 * MINUTE, 0 * MINUTE)])
def test_a_job_that_is_refused_again_and_again_alone_is_stuck(
    scratch: Session, ago: timedelta, stuck: timedelta
) -> None:
    account = refuse(scratch, deferred_until=-ago)
    rows.add_job(scratch, created_at=-30 * MINUTE, due_at=NOW)  # each refusal queues it again
    transitions.defer_account(scratch, account, delay=MINUTE, reason="key", detail="401")
    health, _ = see(scratch)
    assert health.deferred_seconds == pytest.approx(stuck / SECOND)
