"""The provider's state, driven by a clock of the test: money, limits, fates, listing, and the journal."""

import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.catalog import get_video_model
from sandbox.wavespeed.http.answers import Refusal
from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.journal import DamagedJournal
from sandbox.wavespeed.state.provider import Provider, Query
from sandbox.wavespeed.state.tasks import Task, TaskRequest, describe

START = 1_800_000_000.0


class Clock:
    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make_provider(clock: Clock, **changes: Any) -> Provider:
    settings: dict[str, Any] = {"api_key": "k", "slots": 3, "submits_per_minute": 100}
    return Provider(SimulatorSettings(**{**settings, **changes}), clock)


def order(prompt: str = "a cat", **inputs: Any) -> TaskRequest:
    model = get_video_model("ltx-2-pro")
    sent = {"prompt": prompt, **inputs}
    return TaskRequest(model=model, given=sent, base="http://provider")


def advance_time(provider: Provider, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    provider.advance()


def sum_prices(provider: Provider, *money: str) -> Decimal:
    return sum((task.price for task in provider.all_tasks() if task.money in money), Decimal(0))


def test_the_price_is_held_at_submission_and_kept_at_completion() -> None:
    clock = Clock()
    provider = make_provider(clock, balance=Decimal(10))
    task = provider.accept(order(duration=8))
    assert (task.money, task.price, provider.balance) == ("held", Decimal("0.48"), Decimal("9.52"))
    advance_time(provider, clock, 600)
    assert (task.money, provider.balance) == ("kept", Decimal("9.52"))


@pytest.mark.parametrize(
    ("fault", "money"),
    [
        ("task_failed", "refunded"),
        ("task_moderated", "refunded"),
        ("task_cancelled", "refunded"),
        ("task_timeout", "refunded"),
        ("task_deleted", "kept"),
        ("task_without_outputs", "kept"),
        ("task_unknown_status", "held"),
    ],
)
def test_a_task_is_refunded_according_to_its_end(fault: str, money: str) -> None:
    clock = Clock()
    provider = make_provider(clock, faults={fault: 1}, balance=Decimal(10))
    task = provider.accept(order())
    advance_time(provider, clock, 600)
    assert task.money == money
    assert provider.balance == 10 - (0 if money == "refunded" else task.price)


@given(st.lists(st.sampled_from(["task_failed", "task_without_outputs", "none"]), max_size=30), st.integers(1, 400))
def test_the_balance_adds_up_at_every_moment(fates: list[str], step: int) -> None:
    clock = Clock()
    provider = make_provider(clock, balance=Decimal(8))
    for fate in fates:
        provider.faults.switch_off()
        if fate != "none":
            provider.faults.switch_on(fate, 1)
        if provider.balance >= order().price:
            provider.accept(order())
        advance_time(provider, clock, step)
        assert provider.balance == 8 - sum_prices(provider, "held", "kept")
        assert provider.balance >= 0
    advance_time(provider, clock, 40_000)
    failed = sum(task.fate.status == "failed" for task in provider.all_tasks())
    assert sum_prices(provider, "refunded") == failed * order().price
    assert sum_prices(provider, "held") == 0


def test_no_task_is_created_without_credit() -> None:
    provider = make_provider(Clock(), balance=Decimal("0.40"))
    provider.accept(order())
    with pytest.raises(Refusal, match="Insufficient credits") as refusal:
        provider.accept(order())
    assert refusal.value.status == 402
    assert len(list(provider.all_tasks())) == 1


def test_beyond_the_slots_tasks_wait_as_created() -> None:
    clock = Clock()
    provider = make_provider(clock)
    tasks = [provider.accept(order()) for _ in range(5)]
    advance_time(provider, clock, 1)
    assert [task.status_at(provider.now) for task in tasks] == ["processing"] * 3 + ["created"] * 2
    advance_time(provider, clock, 2_000)
    assert provider.farm.most_running == 3
    assert all(task.status_at(provider.now) == "completed" for task in tasks)


def test_beyond_the_slots_tasks_are_refused_in_that_mode() -> None:
    clock = Clock()
    provider = make_provider(clock, overflow="refuse")
    for _ in range(3):
        provider.accept(order())
    with pytest.raises(Refusal, match="Concurrency limit") as refusal:
        provider.accept(order())
    assert refusal.value.status == 429
    advance_time(provider, clock, 600)
    provider.accept(order())


def test_the_minute_of_the_rate_limit_slides() -> None:
    clock = Clock()
    provider = make_provider(clock, submits_per_minute=2)
    limit = provider.limit
    assert [limit.admit(at) for at in (0.0, 30.0, 31.0, 59.9, 60.0, 60.1, 90.0)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_durations_are_log_normal_capped_and_scaled() -> None:
    provider = make_provider(Clock(), slots=10_000, submits_per_minute=1, speed=2.0, cap_seconds=300.0)
    drawn = sorted(provider.accept(order()).duration for _ in range(2_001))
    assert 45 < drawn[1_000] < 55
    assert drawn[-1] == 150
    assert 0.55 < drawn[int(2_001 * 0.16)] / drawn[1_000] < 0.66  # one sigma of 0.5 below the median: e^-0.5 = 0.61


def test_the_same_seed_gives_the_same_durations_and_faults() -> None:
    def play(seed: int) -> list[tuple[float, str]]:
        provider = make_provider(Clock(), seed=seed, faults={"task_failed": 0.5})
        return [(task.duration, task.fate.status) for task in (provider.accept(order()) for _ in range(40))]

    assert play(7) == play(7)
    assert play(7) != play(8)
    assert {status for _, status in play(7)} == {"completed", "failed"}


def test_a_late_acceptance_appears_when_it_is_due() -> None:
    clock = Clock()
    provider = make_provider(clock)
    provider.accept_later(order(), 10.0)
    advance_time(provider, clock, 9.9)
    assert list(provider.all_tasks()) == []
    advance_time(provider, clock, 5)
    [task] = provider.all_tasks()
    assert task.accepted == START + 10
    assert provider.balance == provider.settings.balance - task.price


def test_predictions_are_kept_for_the_retention_only() -> None:
    clock = Clock()
    provider = make_provider(clock, retention_seconds=1_000.0)
    task = provider.accept(order())
    advance_time(provider, clock, 999)
    assert provider.find(task.id) is task
    advance_time(provider, clock, 2)
    assert provider.find(task.id) is None


def test_the_clock_never_goes_back() -> None:
    clock = Clock()
    provider = make_provider(clock)
    task = provider.accept(order())
    advance_time(provider, clock, 700)
    advance_time(provider, clock, -700)
    assert task.status_at(provider.now) == "completed"


def test_the_list_is_newest_first_and_pages_do_not_overlap() -> None:
    clock = Clock()
    provider = make_provider(clock)
    for _ in range(25):
        provider.accept(order())
        advance_time(provider, clock, 0.7)
    pages = [provider.list_tasks(Query(page=page, page_size=10)) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    listed = [task for page in pages for task in page]
    assert len({task.id for task in listed}) == 25
    assert [task.created_ns for task in listed] == sorted((task.created_ns for task in listed), reverse=True)


def test_the_list_filters_by_window_model_and_status() -> None:
    clock = Clock()
    provider = make_provider(clock)
    first, second, third = [(provider.accept(order()), advance_time(provider, clock, 1_000))[0] for _ in range(3)]
    window = Query(page=1, page_size=10, created_after_ns=second.created_ns, created_before_ns=second.created_ns)
    assert provider.list_tasks(window) == [second]
    newest = provider.accept(order())
    assert provider.list_tasks(Query(page=1, page_size=10, status="created")) == [newest]
    assert provider.list_tasks(Query(page=1, page_size=2, status="completed")) == [third, second]
    assert provider.list_tasks(Query(page=2, page_size=2, status="completed")) == [first]
    assert provider.list_tasks(Query(page=1, page_size=10, model="lightricks/ltx-2-fast/text-to-video")) == []


def test_ten_thousand_renders_in_flight_need_no_thread() -> None:
    clock = Clock()
    provider = make_provider(clock, slots=10_000, submits_per_minute=1, balance=Decimal(10_000))
    before = threading.active_count()
    for _ in range(10_000):
        provider.accept(order())
    assert (provider.farm.unfinished, provider.farm.running) == (10_000, 10_000)
    assert threading.active_count() == before
    advance_time(provider, clock, 600)
    assert provider.farm.unfinished == 0
    assert provider.counts.ended == {"completed": 10_000}
    assert all(task.ended == (task.started or 0) + task.duration for task in provider.all_tasks())


# the journal


def summary(provider: Provider) -> list[tuple[Any, ...]]:
    return [
        (task.id, task.status_at(provider.now), task.started, task.ended, task.created_at, task.asked.given, task.money)
        for task in provider.all_tasks()
    ]


def play_a_while(provider: Provider, clock: Clock) -> None:
    provider.faults.switch_on("task_failed", {"probability": 0.4})
    for number in range(12):
        provider.accept(order(f"number {number} 漢字"))
        advance_time(provider, clock, 20)
    provider.accept_later(order("late"), 30.0)


def test_a_restarted_provider_knows_its_tasks_and_its_money(tmp_path: Path) -> None:
    clock = Clock()
    journal = tmp_path / "journal"
    before = make_provider(clock, journal=journal)
    play_a_while(before, clock)
    before.close()
    after = make_provider(clock, journal=journal)
    assert summary(after) == summary(before)
    assert after.balance == before.balance
    for provider in (before, after):
        provider._journal = None  # both go on; only one may write
    advance_time(before, clock, 2_000)
    after.advance()
    assert summary(after) == summary(before)
    assert after.balance == before.balance


def test_renders_end_while_the_simulator_is_down(tmp_path: Path) -> None:
    clock = Clock()
    before = make_provider(clock, journal=tmp_path / "journal")
    tasks = [before.accept(order()) for _ in range(4)]
    before.close()
    clock.now += 5_000
    after = make_provider(clock, journal=tmp_path / "journal")
    after.advance()
    ended = {task.id: task for task in after.all_tasks()}
    assert all(ended[task.id].status_at(after.now) == "completed" for task in tasks)
    running = [ended[task.id] for task in tasks[:3]]
    assert all(task.ended == START + task.duration for task in running)
    assert ended[tasks[3].id].started == min(task.ended or 0 for task in running)
    after.close()


def test_a_torn_last_line_is_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    journal = tmp_path / "journal"
    before = make_provider(clock, journal=journal)
    kept = before.accept(order())
    before.close()
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"event": "accepted", "id": "00')
    after = make_provider(clock, journal=journal)
    assert [task.id for task in after.all_tasks()] == [kept.id]
    after.close()
    assert journal.read_bytes() == whole


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(b"nonsense\n{}\n")
    with pytest.raises(DamagedJournal, match="line 1"):
        make_provider(Clock(), journal=journal)


def test_a_running_task_has_empty_arrays_and_no_error() -> None:
    provider = make_provider(Clock(), faults={"task_failed": 1})
    task = provider.accept(order())
    shown = describe(task, now=provider.now, base="http://provider")
    assert (shown["outputs"], shown["has_nsfw_contents"], shown["error"]) == ([], [], "")
    assert (shown["executionTime"], shown["timings"]) == (0, {"inference": 0})
    assert "code" not in shown


def test_a_failed_task_has_a_code_and_a_text() -> None:
    clock = Clock()
    provider = make_provider(clock, faults={"task_failed": {"code": 1402}})
    task: Task = provider.accept(order())
    advance_time(provider, clock, 600)
    shown = describe(task, now=provider.now, base="http://provider")
    assert (shown["status"], shown["code"], shown["outputs"]) == ("failed", 1402, [])
    assert "could not be fetched" in shown["error"]
