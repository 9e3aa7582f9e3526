"""The doctor's judgement of what the rows tell: what is a fault, what passes by itself, and what to do."""

import pytest

from cli.checks import Check, judge_health
from models.queries import EXPECTED_MIGRATION, Health
from rushes.readiness import Readiness


def judge(**changes: object) -> dict[str, Check]:
    """The checks by name of a farm that is well but for the changes."""
    health = Health(leader="main1@host", workers=2, deferred=None)._replace(**changes)
    seen = Readiness(reachable=True, migration=EXPECTED_MIGRATION, health=health)
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
        ({"deferred": "rate", "deferred_seconds": 30.0}, "account", "warning", "takes no submissions now (rate)"),
        ({"deferred": "key: no", "deferred_seconds": 720.0}, "account", "failed", "for 12 min (key: no)"),
        ({"batches_at_risk": 2}, "batches", "warning", "2 will hardly have ended"),
        ({"paused": "restore: x", "deferred": "rate"}, "account", "warning", "is paused (restore: x)"),
        ({"surpluses": 2}, "ledger", "warning", "2 surplus prediction(s)"),
        ({"lag_seconds": 75.4}, "lag", "warning", "75 s late"),
    ],
)
def test_what_has_stopped_is_told_with_advice(changes: dict[str, object], name: str, status: str, words: str) -> None:
    checks = judge(**changes)
    assert checks[name].status == status
    assert words in checks[name].message
    assert checks[name].advice
