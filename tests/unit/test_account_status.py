"""The account's status as a function of its facts: one cause at a time, with what to do."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from models.queries.accounts.status import AccountFacts
from rushes.account_status import AccountStatus, Condition, judge_account

NOW = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)
SOON, EARLIER = NOW + timedelta(seconds=30), NOW - timedelta(minutes=3)
AWAY: dict[str, Any] = {"provider_failures": 2, "provider_failing_since": EARLIER, "provider_failure": "503"}
CAP: dict[str, Any] = {"most_today": Decimal(10), "spent_today": Decimal("9.90"), "next_price": Decimal("0.24")}


def judge(**facts: Any) -> AccountStatus:
    return judge_account(AccountFacts(NOW, **facts))


def refused(reason: str) -> dict[str, Any]:
    return {
        "refused": True,
        "back_off_reason": reason,
        "back_off_detail": "no",
        "back_off_since": EARLIER,
        "back_off_until": SOON,
    }


@pytest.mark.parametrize(
    ("facts", "condition"),
    [
        ({}, Condition.OK),
        ({"provider_failures": 1, "provider_failure": "503"}, Condition.OK),
        (AWAY, Condition.PROVIDER_UNREACHABLE),
        (refused("unreachable"), Condition.PROVIDER_UNREACHABLE),
        ({**refused("unreachable"), "refused": False}, Condition.OK),
        (refused("key"), Condition.KEY_REJECTED),
        (refused("credit"), Condition.NO_CREDIT),
        (refused("rate"), Condition.RATE_LIMITED),
        ({**refused("key"), "refused": False}, Condition.OK),
        ({**refused("credit"), **AWAY}, Condition.NO_CREDIT),
        (CAP, Condition.SPENDING_CAP),
        ({**CAP, "spent_today": Decimal(9)}, Condition.OK),
        ({**CAP, "next_price": None}, Condition.OK),
        ({**CAP, **AWAY}, Condition.PROVIDER_UNREACHABLE),
        ({"paused_at": EARLIER, "paused_reason": "person", **refused("key")}, Condition.PAUSED),
    ],
)
def test_the_first_cause_that_applies_is_the_status(facts: dict[str, Any], condition: Condition) -> None:
    status = judge(**facts)
    assert status.condition is condition
    assert bool(status.what_to_do) is not status.is_ok


def test_a_status_names_cause_beginning_and_next_try() -> None:
    status = judge(**AWAY, check_back_off_until=SOON, back_off_until=NOW + timedelta(minutes=5))
    assert (
        status.message == "the provider is unreachable (503), since 2026-11-05 11:57:00 UTC, next try at 12:00:30 UTC"
    )
    assert judge(**CAP).next_try_at == datetime(2026, 11, 6, tzinfo=UTC)


@pytest.mark.parametrize("reason", ["restore", "person"])
def test_a_pause_says_how_it_ends(reason: str) -> None:
    status = judge(paused_at=EARLIER, paused_reason=reason, paused_detail="mara")
    assert status.message == f"the account is paused ({reason}: mara), since 2026-11-05 11:57:00 UTC"
    assert ("by itself" in status.what_to_do) is (reason == "restore")
