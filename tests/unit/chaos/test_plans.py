"""Plans of chaos: drawn from a seed alone, whole, and within what a scenario may break."""

from itertools import pairwise

import pytest

from chaos.faults import (
    CONNECTION_FAULTS,
    LONG_RUNS_ONLY,
    MINUTE_OUTAGE,
    OUTPUT_FAULTS,
    OWN_FAULTS,
    PROCESS_FAULTS,
    PROVIDER_FAULTS,
    PUSH_FAULTS,
    RESTORE,
)
from chaos.plan import LAG_SECONDS, SCENARIOS, Plan, draw_plan
from sandbox.wavespeed.state.faults import read_rule

EVERYTHING = SCENARIOS["everything"]


def draw(seed: int, jobs: int = 300, scenario: str = "everything", **choices: object) -> Plan:
    return draw_plan(seed, jobs=jobs, scenario=SCENARIOS[scenario], **choices)  # type: ignore[arg-type]


def test_the_same_seed_draws_the_same_plan_and_another_seed_another() -> None:
    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_long_plan_deals_every_kind_of_fault_and_pushes_every_job(seed: int) -> None:
    plan = draw(seed)
    assert {each.kind for each in plan.faults} == {*OWN_FAULTS, *PROVIDER_FAULTS, MINUTE_OUTAGE}
    assert len(plan.prompts) == 300
    assert sum(push.kills_after is not None for push in plan.pushes) >= 3
    assert plan.always["list_lag"] == {"probability": 0.6, "delay": LAG_SECONDS}


def test_a_long_plan_has_one_outage_of_a_minute_that_ends_before_the_quiet() -> None:
    (outage,) = [each for each in draw(1).faults if each.kind == MINUTE_OUTAGE]
    assert (outage.name, outage.seconds) == ("outage", 60.0)
    assert outage.at + outage.seconds <= draw(1).seconds
    assert not [each for each in draw(1, jobs=60).faults if each.kind == MINUTE_OUTAGE]


def test_faults_that_need_more_than_a_minute_are_left_to_long_runs() -> None:
    dealt = {each.kind for seed in range(5) for each in draw(seed, jobs=199, minutes=5.0).faults}
    assert {*PROVIDER_FAULTS} - dealt == LONG_RUNS_ONLY


def test_every_rule_of_the_provider_is_one_that_the_simulator_takes() -> None:
    for plan in (draw(1), draw(1, scenario="lost-answers"), draw(1, scenario="outputs")):
        for name, rule in plan.always.items():
            read_rule(name, dict(rule))
        for fault in plan.faults:
            if fault.rule is not None:
                read_rule(fault.name, dict(fault.rule))


def test_servers_of_others_leave_the_rest_of_the_plan_as_it_is() -> None:
    kinds = {*PROCESS_FAULTS, *CONNECTION_FAULTS}
    everywhere, elsewhere = draw(1), draw(1, kinds=kinds)
    assert elsewhere.pushes == everywhere.pushes
    assert set(elsewhere.faults) == {each for each in everywhere.faults if each.rule is not None or each.kind in kinds}
    assert len(elsewhere.faults) < len(everywhere.faults)


def test_only_what_cuts_off_pushes_occurs_while_jobs_are_pushed_singly() -> None:
    plans = [draw(seed, jobs=60, scenario="pushes") for seed in range(5)]
    assert {each.kind for plan in plans for each in plan.faults} == set(PUSH_FAULTS)
    assert all(plan.pushes_singly for plan in plans)
    assert not draw(1).pushes_singly


def test_lost_answers_are_one_in_ten_and_break_nothing_else() -> None:
    plan = draw(1, jobs=60, scenario="lost-answers")
    assert plan.faults == ()
    assert plan.always.pop("list_lag") == {"probability": 0.6, "delay": 20.0}
    answered = 1.0
    for rule in plan.always.values():
        answered *= 1 - rule["probability"]
    assert 1 - answered == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_a_restore_brings_back_what_knows_every_job_and_forgets_purchases(seed: int) -> None:
    plan = draw(seed, jobs=60, scenario="restore", kinds={*OWN_FAULTS, RESTORE})
    assert plan.restore is not None
    assert 0 < plan.restore.copied_at < 1
    assert 0 < plan.restore.returned_at < 1
    assert {push.at for push in plan.pushes} == {0.0}
    assert plan.faults == ()
    assert draw(seed, scenario="restore").restore is None  # servers that nobody may restore
    assert draw(seed).restore is None


def test_the_output_host_fails_in_an_order_of_the_seed() -> None:
    first, again, other = draw(1, scenario="outputs"), draw(1, scenario="outputs"), draw(2, scenario="outputs")
    assert first == again
    assert [each.rule for each in first.faults] != [each.rule for each in other.faults]


@pytest.mark.parametrize("seed", range(5))
def test_the_output_host_fails_in_every_way_once_and_nothing_else_does(seed: int) -> None:
    plan = draw(seed, jobs=60, scenario="outputs")
    drawn = [(each.kind, each.rule) for each in plan.faults]
    ways = [(kind, rule) for kind, rule, _ in OUTPUT_FAULTS]
    assert sorted(drawn, key=str) == sorted(ways, key=str)
    assert plan.always == {}
    spans = {(kind, str(rule)): span for kind, rule, span in OUTPUT_FAULTS}
    for fault in plan.faults:
        shortest, longest = spans[fault.kind, str(fault.rule)]
        assert shortest <= fault.seconds <= longest


@pytest.mark.parametrize("seed", range(5))
def test_the_faults_of_the_output_host_follow_each_other_some_after_a_gap(seed: int) -> None:
    plan = draw(seed, jobs=60, scenario="outputs")
    gaps = [after.at - (before.at + before.seconds) for before, after in pairwise(plan.faults)]
    healthy = [gap for gap in gaps if gap > 0.001]
    assert 0 < len(healthy) < len(gaps)
    assert all(3 <= gap <= 6.001 for gap in healthy)
    assert plan.seconds == pytest.approx(plan.faults[-1].at + plan.faults[-1].seconds)
    same = [gap for gap, (before, after) in zip(gaps, pairwise(plan.faults), strict=True) if before.kind == after.kind]
    assert all(gap >= 3 for gap in same)


@pytest.mark.parametrize("jobs", [1, 5, 16, 300])
def test_jobs_are_pushed_from_the_first_second_while_the_output_host_fails(jobs: int) -> None:
    plan = draw(1, jobs=jobs, scenario="outputs")
    assert len(plan.prompts) == jobs
    assert len(plan.pushes) == min(jobs, len(OUTPUT_FAULTS))
    assert plan.pushes[0].at == 0.0
    assert all(any(fault.at <= push.at < fault.at + fault.seconds for fault in plan.faults) for push in plan.pushes)
    assert {push.kills_after for push in plan.pushes} == {None}


def test_minutes_scale_the_whole_plan_of_the_output_host() -> None:
    whole, short = draw(1, jobs=60, scenario="outputs"), draw(1, jobs=60, scenario="outputs", minutes=0.5)
    scale = 30 / whole.seconds
    assert short.seconds == pytest.approx(30)
    assert [each.at for each in short.faults] == pytest.approx([each.at * scale for each in whole.faults])
    assert [each.seconds for each in short.faults] == pytest.approx([each.seconds * scale for each in whole.faults])
    assert [each.at for each in short.pushes] == pytest.approx([each.at * scale for each in whole.pushes])


def test_the_output_host_scenario_alone_demands_that_all_jobs_succeed() -> None:
    assert [each.name for each in SCENARIOS.values() if each.breaks_outputs] == ["outputs"]


def test_jobs_that_ask_for_the_same_come_in_every_batch() -> None:
    plan = draw(1)
    assert all(len(set(push.prompts)) < len(push.prompts) for push in plan.pushes)


def test_minutes_say_how_long_faults_strike() -> None:
    assert draw(1, jobs=20, minutes=2).seconds == 120
