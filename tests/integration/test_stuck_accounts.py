"""An account is stuck while it refuses what waits for it, not because a refusal was never answered by a submission."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from models import queries
from models.queries import Health
from tests import rows
from tests.rows import MINUTE, NOW, SECOND

REFUSED = {"deferrals": 1, "deferred_reason": "key", "deferred_detail": "401", "deferred_since": -20 * MINUTE}
OVER, LASTS = {"deferred_until": -15 * MINUTE}, {"deferred_until": MINUTE}


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
    if why == "queued":
        rows.add_job(scratch, due_at=-30 * MINUTE)
    elif why == "submitting":
        waiting = rows.add_render(scratch, "submitting", account_id=account).prediction_id
        rows.change(scratch, "prediction", waiting, created_at=-30 * MINUTE)
    health, deferred = see(scratch)
    assert health.deferred == deferred == "key: 401"
    assert health.deferred_seconds == pytest.approx(20 * MINUTE / SECOND)


@pytest.mark.parametrize("state", ["queued", "submitting"])
def test_what_is_queued_or_posted_long_after_a_refusal_has_not_waited_since_then(scratch: Session, state: str) -> None:
    account = refuse(scratch, **OVER)
    if state == "queued":
        rows.add_job(scratch, created_at=-30 * MINUTE, due_at=NOW)  # a render of it has failed, or it was retried
    else:
        rows.change(
            scratch, "job", rows.add_render(scratch, "submitting", account_id=account).job_id, created_at=-30 * MINUTE
        )
    health, _ = see(scratch)
    assert health.deferred == "key: 401"
    assert health.deferred_seconds == 0
