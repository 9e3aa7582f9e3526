"""An account is stuck while it refuses what waits for it, not because a refusal was never answered by a submission."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import queries, transitions
from models.queries.accounts.status import AccountFacts
from rushes.account_status import Condition, judge_account
from tests.support import rows
from tests.support.rows import MINUTE, NOW

REFUSED = {"back_offs": 1, "back_off_reason": "key", "back_off_detail": "401", "back_off_since": -20 * MINUTE}
OVER, LASTS = {"back_off_until": -5 * MINUTE}, {"back_off_until": MINUTE}


def refuse(session: Session, **columns: Any) -> UUID:
    return rows.add_account(session, name="default", **REFUSED | columns)


def see(session: Session) -> AccountFacts:
    facts = queries.status.find_account_facts(session, "default")
    assert facts is not None
    return facts


def find_wait(session: Session) -> timedelta:
    """For how long the account has been refused, as users see it."""
    facts = see(session)
    status = judge_account(facts)
    assert (status.condition, status.detail) == (Condition.KEY_REJECTED, "401")
    assert status.since is not None
    return facts.now - status.since


def test_a_refusal_whose_hold_is_over_is_no_alarm_while_nothing_waits(scratch: Session) -> None:
    account = refuse(scratch, **OVER)
    rows.add_render(scratch, "rendering", account_id=account)
    assert judge_account(see(scratch)).is_ok


@pytest.mark.parametrize("why", ["the hold lasts", "checks fail", "queued", "submitting"])
def test_a_refused_account_is_stuck_while_something_waits_for_it(scratch: Session, why: str) -> None:
    account = refuse(scratch, **LASTS if why == "the hold lasts" else OVER, check_failures=int(why == "checks fail"))
    since = {"created_at": -30 * MINUTE}
    if why == "queued":
        rows.add_job(scratch, due_at=timedelta(hours=1), **since)
    elif why == "submitting":
        rows.change(scratch, "job", rows.add_render(scratch, "submitting", account_id=account).job_id, **since)
    assert find_wait(scratch) == 20 * MINUTE


@pytest.mark.parametrize("state", ["queued", "submitting"])
def test_a_job_pushed_long_after_a_refusal_has_not_waited_since_then(scratch: Session, state: str) -> None:
    account = refuse(scratch, **OVER)
    if state == "queued":
        rows.add_job(scratch, created_at=NOW)
    else:
        rows.add_render(scratch, "submitting", account_id=account)
    assert find_wait(scratch) == 0 * MINUTE


def test_a_job_retried_long_after_a_hold_is_not_stuck_before_it_is_tried(scratch: Session) -> None:
    refuse(scratch, back_off_until=-15 * MINUTE)
    rows.add_job(scratch, created_at=-30 * MINUTE, due_at=NOW)
    assert judge_account(see(scratch)).is_ok


@pytest.mark.parametrize(("ago", "stuck"), [(5 * MINUTE, 20 * MINUTE), (15 * MINUTE, 0 * MINUTE)])
def test_a_job_that_is_refused_again_and_again_alone_is_stuck(
    scratch: Session, ago: timedelta, stuck: timedelta
) -> None:
    account = refuse(scratch, back_off_until=-ago)
    rows.add_job(scratch, created_at=-30 * MINUTE, due_at=NOW)  # each refusal queues it again
    transitions.accounts.back_off_account(scratch, account, delay=MINUTE, reason="key", detail="401")
    assert find_wait(scratch) == stuck
