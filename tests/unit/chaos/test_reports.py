"""What a report says a run has cost, and what it says is broken."""

from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from chaos.report import COLUMNS, Cost, Purchases, Report, Trial, list_faults, list_rows, read_purchases, reckon
from chaos.trial import find_failed
from rushes.monitoring.audit import Books, Finding

CENTS = Decimal("0.24")


def bought(**kept: int) -> Purchases:
    spent = {prompt: CENTS * count for prompt, count in kept.items()}
    return Purchases(Books([], {}, {}), Counter(kept), defaultdict(Decimal, spent))


def make_report(seed: int = 1, *, ended: int = 10, **fields: object) -> Report:
    return Report(Trial(seed, 10), states={"succeeded": ended}, **fields)  # type: ignore[arg-type]


def test_a_render_per_job_with_its_file_wastes_nothing() -> None:
    assert reckon(bought(a=1, b=2), wanted={"a": 1, "b": 2}, files={"a": 1, "b": 2}) == Cost(0, 0, Decimal(0))


def test_a_paid_render_without_a_file_is_lost() -> None:
    assert reckon(bought(a=1), wanted={"a": 1}, files={}) == Cost(1, 0, CENTS)


def test_a_completion_without_a_file_is_wasted_and_not_lost() -> None:
    def empty(**kept: int) -> Purchases:
        return replace(bought(**kept), empty=Counter(a=1))

    assert reckon(empty(a=1), wanted={"a": 1}, files={}) == Cost(0, 0, CENTS)
    assert reckon(empty(a=2), wanted={"a": 2}, files={}) == Cost(1, 0, CENTS * 2)
    assert reckon(empty(a=2), wanted={"a": 1}, files={"a": 1}) == Cost(0, 1, CENTS)


def test_a_deleted_render_is_billed_and_never_had_a_file() -> None:
    tasks = [{"id": "a", "money": "kept", "price": "0.24", "output": None, "input": {"prompt": "fox"}}]
    books: Any = SimpleNamespace(tasks=lambda: tasks, stats=lambda: {"most_unfinished": 1})
    assert reckon(read_purchases(books), wanted={"fox": 1}, files={}) == Cost(0, 0, CENTS)


def test_a_second_render_of_a_job_is_paid_twice() -> None:
    assert reckon(bought(a=3), wanted={"a": 1}, files={"a": 1}) == Cost(0, 2, CENTS * 2)


def test_a_job_that_was_never_bought_costs_nothing() -> None:
    assert reckon(bought(), wanted={"a": 1}, files={}) == Cost(0, 0, Decimal(0))


def test_a_finding_a_loss_a_double_or_an_endless_job_breaks_a_run() -> None:
    assert not make_report().is_broken
    assert make_report(ended=9).is_broken
    assert make_report(cost=Cost(1, 0, CENTS)).is_broken
    assert make_report(cost=Cost(0, 1, CENTS)).is_broken
    assert make_report(findings=[Finding("within_slots", "too many", 1)]).is_broken
    assert not make_report(findings=[Finding("within_slots", "too many", 0)]).is_broken


def test_a_scenario_can_demand_that_every_job_succeeds() -> None:
    assert not make_report(findings=[find_failed({"succeeded": 10})]).is_broken
    broken = make_report(findings=[find_failed({"succeeded": 7, "storing": 1, "failed": 2})])
    assert broken.is_broken
    assert "all_succeeded: 3 x" in broken.describe()
    assert "2 failed, 1 storing" in broken.describe()


def test_losses_are_those_of_the_audit_where_it_finds_more_than_the_books() -> None:
    found = make_report(cost=Cost(1, 0, CENTS), findings=[Finding("files_exist", "gone", 3, ("a",))])
    assert (found.lost, found.paid_twice) == (3, 0)
    assert "files_exist: 3 x gone: a" in found.describe()


def test_another_contestant_that_loses_jobs_breaks_no_promise() -> None:
    assert not make_report(who="plain Celery", ended=3, cost=Cost(5, 5, CENTS)).is_broken


def test_the_line_that_repeats_a_run_names_what_is_not_the_default() -> None:
    assert make_report(3).describe().endswith("repeat it with: rushes chaos --seed 3 --jobs 10")
    assert Trial(3, 10, "provider", 2.5).command == "rushes chaos --seed 3 --jobs 10 --minutes 2.5 --scenario provider"


def test_the_table_has_a_row_per_run_and_a_sum_of_repeated_runs() -> None:
    rows = list_rows([make_report(1), make_report(2, cost=Cost(0, 1, CENTS)), make_report(1, who="plain Celery")])
    reported = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    assert [(row["SEED"], row["WHO"]) for row in reported] == [
        ("1", "rushes"),
        ("2", "rushes"),
        ("1", "plain Celery"),
        ("all", "rushes"),
    ]
    assert (reported[-1]["JOBS"], reported[-1]["ENDED"], reported[-1]["PAID TWICE"], reported[-1]["WASTED"]) == (
        20,
        20,
        1,
        "$0.24",
    )
    assert reported[2]["BROKEN"] == ""


def test_faults_are_reported_by_kind_with_how_often_they_struck() -> None:
    faults, strikes = Counter(kill_main=2, get_5xx=1), Counter(get_5xx=7, list_lag=3, outage=0)
    reported = list_faults([make_report(faults=faults, strikes=strikes)])
    assert reported == [("get_5xx", 1, 7), ("kill_main", 2, ""), ("list_lag", "always on", 3)]
