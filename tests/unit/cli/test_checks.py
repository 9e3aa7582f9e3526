"""The doctor's judgement of what the rows tell: what is a fault, what passes by itself, and what to do."""

from datetime import UTC, datetime, timedelta

import pytest

from cli.doctor.health import Check, judge_health, judge_webhooks
from models.queries.health import EXPECTED_MIGRATION, Health
from models.queries.watching.webhooks import WebhookStats
from models.tables.worker import StoreState
from rushes.account_status import OK, AccountStatus, Condition
from rushes.readiness import Readiness


def judge(account: AccountStatus = OK, **changes: object) -> dict[str, Check]:
    """The checks by name of a farm that is well but for the changes."""
    health = Health(leader="main1@host", workers=2)._replace(**changes)
    state = {"health": health, "store": StoreState(None, 10**12), "account": account}
    seen = Readiness(reachable=True, migration=EXPECTED_MIGRATION, **state)
    return {check.name: check for check in judge_health(seen)}


def test_a_farm_that_is_well_has_nothing_to_mend() -> None:
    assert {(check.status, check.advice) for check in judge().values()} == {("ok", "")}


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"leader": None, "leaderless_seconds": 4.0}, "dispatcher", "warning", "nobody leads yet"),
        ({"leader": None, "leaderless_seconds": 42.0}, "dispatcher", "failed", "nobody has led for 42 s although"),
        ({"leader": None, "workers": 0, "leaderless_seconds": 42.0}, "dispatcher", "failed", "nobody leads, so jobs"),
        ({"workers": 0}, "workers", "failed", "none seen"),
        ({"account": AccountStatus(Condition.RATE_LIMITED)}, "account", "warning", "limits the rate"),
        (
            {"account": AccountStatus(Condition.RATE_LIMITED, datetime.now(UTC) - timedelta(minutes=12))},
            "account",
            "failed",
            "the rate",
        ),
        ({"account": AccountStatus(Condition.NO_CREDIT, None, "402")}, "account", "failed", "no credit (402)"),
        ({"account": AccountStatus(Condition.KEY_REJECTED)}, "account", "failed", "rejects the key"),
        ({"account": AccountStatus(Condition.PROVIDER_UNREACHABLE)}, "account", "failed", "is unreachable"),
        ({"account": AccountStatus(Condition.PAUSED, None, "restore: x")}, "account", "warning", "paused (restore: x)"),
        (
            {"turn_error": "KeyError: x", "turns_failing_seconds": 42.0},
            "dispatcher",
            "failed",
            "for 42 s (KeyError: x)",
        ),
        ({"turn_error": "KeyError: x", "turns_failing_seconds": 2.0}, "dispatcher", "warning", "every turn"),
        ({"batches_at_risk": 2}, "batches", "warning", "2 likely to miss their deadline"),
        (
            {"unconfirmed": 3, "oldest_unconfirmed_seconds": 700.0},
            "unconfirmed",
            "warning",
            "3 unconfirmed submission(s)",
        ),
        (
            {"unconfirmed": 3, "oldest_unconfirmed_seconds": 20.0, "foreign": 2},
            "unconfirmed",
            "failed",
            "so 2 submission(s) and render(s)",
        ),
        ({"duplicates": 2}, "ledger", "warning", "2 duplicate purchase(s)"),
        ({"lag_seconds": 75.4}, "lag", "warning", "75 s late"),
    ],
)
def test_a_stopped_service_is_reported_with_advice(
    changes: dict[str, object], name: str, status: str, words: str
) -> None:
    checks = judge(**changes)  # type: ignore[arg-type]
    assert checks[name].status == status
    assert words in checks[name].message
    assert checks[name].advice


@pytest.mark.parametrize(
    ("stats", "public", "status", "words"),
    [
        (WebhookStats(0, None, None), False, "ok", "are off: RUSHES_PUBLIC_URL is not set"),
        (WebhookStats(0, None, None), True, "ok", "are on; no render with a webhook address has ended yet"),
        (
            WebhookStats(3, None, 4.0),
            True,
            "ok",
            "3 renders with a webhook address have ended, too few to judge; the last arrived 4 s",
        ),
        (
            WebhookStats(200, 0.985, 30.4),
            True,
            "ok",
            "98% of the latest ended renders were reported in time; the last arrived 30 s",
        ),
        (WebhookStats(200, 0.5, 7200.0), False, "ok", "the last arrived 2 h ago"),
        (
            WebhookStats(200, 0.49, 600.0),
            True,
            "warning",
            "49% of the latest ended renders were reported in time; the last arrived 10",
        ),
        (WebhookStats(5, 0.0, None), True, "warning", "none has arrived"),
    ],
)
def test_webhooks_that_stay_away_are_reported_and_fail_nothing(
    stats: WebhookStats, public: bool, status: str, words: str
) -> None:
    check = judge_webhooks(stats, has_public_url=public)
    assert (check.name, check.status, bool(check.advice)) == ("webhooks", status, status == "warning")
    assert words in check.message
