"""The leader's schedule of checks: the worthiest first, never too many, never at a render that ended."""

import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.watching import next_check_age
from models.queries.watching.renders import Rendering
from rushes.render_times.learned import RenderTimes
from rushes.render_times.poll_spacing import resumed_spacing
from rushes.settings import Settings
from rushes.watching.schedule import (
    LONGEST_REST_SECONDS,
    LONGEST_SPACING_SECONDS,
    SURER,
    WINDOW_SIZE,
    CheckSchedule,
)
from rushes.watching.spending import BURST_SECONDS
from rushes.watching.watched_render import Poll, Sweep

SHORTEST = 5.0
NO_LIMIT = 10_000
MEDIAN = 20.0


def make_settings(**changes: Any) -> Settings:
    """The defaults, whatever the environment says; a budget that is no limit, unless set otherwise."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    chosen = {
        "poll_shortest_seconds": SHORTEST,
        "watch_requests_per_second": 1_000.0,
        "render_median_seconds": MEDIAN,
    }
    return Settings(**(defaults | chosen | changes))


def make_schedule(**changes: Any) -> CheckSchedule:
    """A schedule that has learned nothing yet."""
    settings = make_settings(**changes)
    return CheckSchedule(settings, RenderTimes(settings))


def rendering(
    *, claim: int = 1, age: float = 0.0, windows: int = 0, created: float | None = 1_000.0, model: str = ""
) -> Rendering:
    """A render in flight."""
    return Rendering(
        prediction_id=uuid4(),
        place="pilot/7",
        claim=claim,
        age_seconds=age,
        watch_windows=windows,
        video_model=model or "lightricks/ltx-2-pro/text-to-video",
        values={"duration": 6, "generate_audio": True},
        provider_created_at=created,
    )


def follow(
    schedule: CheckSchedule, *, start: float, until: float, limit: int = NO_LIMIT
) -> list[tuple[float, Poll | Sweep]]:
    """Take every check as soon as it is due."""
    checks: list[tuple[float, Poll | Sweep]] = []
    now = start
    while now <= until:
        checks += [(now, check) for check in schedule.take_due(now=now, limit=limit)]
        next_at = schedule.find_next_at()
        assert next_at is not None
        assert next_at > now, "a schedule that asks for no rest spins"
        now = next_at
    return checks


def polls_of(checks: list[tuple[float, Poll | Sweep]], prediction_id: UUID) -> list[float]:
    return [at for at, check in checks if isinstance(check, Poll) and check.prediction_id == prediction_id]


def sweeps_in(checks: list[tuple[float, Poll | Sweep]]) -> list[tuple[float, Sweep]]:
    return [(at, check) for at, check in checks if isinstance(check, Sweep)]


@dataclass
class Account:
    """A provider whose slots are all busy; what is over is known a moment after a check that shows it."""

    schedule: CheckSchedule
    slots: int
    renders: int
    sigma: float = 0.5
    delivered: float = 0.0
    requests: int = 0
    delays: list[float] = field(default_factory=list)
    ends: dict[UUID, tuple[float, float]] = field(default_factory=dict)
    unannounced: set[UUID] = field(default_factory=set)
    prices: list[float] = field(default_factory=list)  # while the slots were full

    def run(self) -> None:
        luck, now, left = random.Random(7), 0.0, self.renders
        while len(self.delays) < self.renders:
            while left and len(self.ends) < self.slots:
                left -= 1
                render = rendering(created=now)
                self.ends[render.prediction_id] = (now, now + MEDIAN * math.exp(self.sigma * luck.gauss(0, 1)))
                self.schedule.add([render], now=now)
                now += 0.001
            self.take_webhooks(luck, now)
            for check in self.schedule.take_due(now=now, limit=NO_LIMIT):
                self.requests += 1
                self.see(check, now)
            ends = [end for each, (_, end) in self.ends.items() if self.delivered and each not in self.unannounced]
            now = max(now + 0.001, min([self.schedule.find_next_at() or 0.0, *ends]))

    def take_webhooks(self, luck: random.Random, now: float) -> None:
        """Each end is announced at once, or never."""
        for prediction_id in [
            each for each, (_, end) in self.ends.items() if end <= now and each not in self.unannounced
        ]:
            if luck.random() < self.delivered:
                self.know(prediction_id, now)
            else:
                self.unannounced.add(prediction_id)

    def know(self, prediction_id: UUID, now: float) -> None:
        _, end = self.ends.pop(prediction_id)
        self.delays.append(now - end)
        self.schedule.end([prediction_id], now=now)
        if self.slots < len(self.delays) < self.renders - self.slots:
            self.prices.append(self.schedule.measure_price())

    def see(self, check: Poll | Sweep, now: float) -> None:
        for prediction_id, (created, end) in list(self.ends.items()):
            if isinstance(check, Sweep):
                shown = check.created_after <= created <= check.created_before
            else:
                shown = check.prediction_id == prediction_id
            if shown and end <= now:
                self.know(prediction_id, now)


def test_a_new_schedule_has_nothing_to_check() -> None:
    schedule = make_schedule()
    assert len(schedule) == 0
    assert schedule.find_next_at() is None
    assert schedule.take_due(now=1e9, limit=NO_LIMIT) == []


@pytest.mark.parametrize(
    ("slots", "renders", "most_requests", "most_delay"), [(100, 1_000, 1.0, 0.35), (20, 300, 2.5, 0.5), (3, 300, 8, 1)]
)
def test_completions_are_seen_at_once_and_asked_for_rarely(
    slots: int, renders: int, most_requests: float, most_delay: float
) -> None:
    account = Account(make_schedule(watch_requests_per_second=4.0), slots, renders)
    account.run()
    assert account.requests / renders <= most_requests
    delay = sum(account.delays) / renders
    assert delay <= most_delay
    assert account.schedule.measure_lateness() == pytest.approx(delay, rel=0.6)


def test_few_checks_are_made_with_webhooks_that_are_rarely_lost() -> None:
    schedule = make_schedule(watch_requests_per_second=2.0)
    schedule.configure(list_lag_seconds=0.0, delivered=0.95)
    account = Account(schedule, slots=100, renders=1_000, delivered=0.95)
    account.run()
    assert account.requests / 1_000 <= 0.3
    assert sum(account.delays) / 1_000 <= 0.1
    assert max(account.delays) <= 15


def test_the_budget_is_never_exceeded() -> None:
    schedule = make_schedule(watch_requests_per_second=2.0)
    schedule.add([rendering(created=None, age=20.0) for _ in range(300)], now=0.0)
    checks = follow(schedule, start=0.0, until=60.0)
    assert 110 <= len(checks) <= 121
    assert all(later - earlier >= 0.5 - 1e-6 for (earlier, _), (later, _) in pairwise(checks))


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("extra", [[1], [0, 0, 9], [3, 0, 1, 5]])
def test_requests_beyond_the_checks_are_within_the_budget_of_any_minute(extra: list[int], rate: float) -> None:
    schedule = make_schedule(watch_requests_per_second=rate)
    schedule.add([rendering(created=None, age=20.0) for _ in range(100)], now=0.0)
    now, owed, requests = 0.0, 0, list[float]()
    while now < 200.0:
        owed -= schedule.pay_debt(owed, now=now)
        checks = schedule.take_due(now=now, limit=NO_LIMIT)
        for check in checks:
            owed += extra[check.number % len(extra)]
            requests += [now] * (1 + extra[check.number % len(extra)])
        now = max(now + 0.04, min(schedule.find_next_at() or 0.0, now + 1.0))
    most_at_once = max(1.0, rate * BURST_SECONDS) * (1 + max(extra))
    for first, at in enumerate(requests):
        within_a_minute = bisect_right(requests, at + 60.0) - first
        assert within_a_minute <= 60 * rate + most_at_once + 1
    assert len(requests) >= 0.8 * 200 * rate


@pytest.mark.parametrize(("slots", "renders", "rate"), [(20, 400, 0.5), (20, 400, 1.0), (100, 1_000, 2.0)])
def test_a_short_budget_makes_the_checks_of_a_higher_price(slots: int, renders: int, rate: float) -> None:
    short = Account(make_schedule(poll_cost_seconds=0.01, watch_requests_per_second=rate), slots, renders)
    short.run()
    price = sum(short.prices) / len(short.prices)
    assert price > 0.1
    free = Account(make_schedule(poll_cost_seconds=price), slots, renders)
    free.run()
    assert free.requests == pytest.approx(short.requests, rel=0.25)
    assert sum(free.delays) == pytest.approx(sum(short.delays), rel=0.25)


def test_the_price_is_the_set_one_where_the_budget_is_no_limit() -> None:
    account = Account(make_schedule(poll_cost_seconds=0.3), slots=20, renders=200)
    account.run()
    assert account.prices[-1] == pytest.approx(0.3)


def test_no_check_outside_the_schedule_is_granted_before_the_debt_is_paid() -> None:
    schedule = make_schedule(watch_requests_per_second=2.0)
    assert schedule.pay_debt(5, now=0.0) == 1
    assert schedule.budget.count_allowed(now=0.1) == 0
    assert sum(schedule.pay_debt(4 - paid, now=at) for at, paid in ((0.6, 0), (1.1, 1), (1.6, 2), (2.1, 3))) == 4
    assert schedule.budget.count_allowed(now=2.6) == 1


def test_the_schedule_makes_up_for_a_check_granted_early() -> None:
    schedule = make_schedule(watch_requests_per_second=0.1)
    granted = 0
    for second in range(600):
        count = min(1, schedule.budget.count_allowed(now=float(second)))
        schedule.budget.charge(count)
        granted += count
    assert granted <= 32


def test_checks_outside_the_schedule_leave_it_half_of_the_budget() -> None:
    schedule = make_schedule(watch_requests_per_second=2.0)
    schedule.add([rendering(created=None, age=20.0) for _ in range(300)], now=0.0)
    unscheduled, checks = 0, 0
    for number in range(200):  # the leader's rounds, which come before its checks
        count = min(1, schedule.budget.count_allowed(now=0.5 * number))
        schedule.budget.charge(count)
        unscheduled += count
        checks += len(schedule.take_due(now=0.5 * number, limit=NO_LIMIT))
    assert unscheduled == pytest.approx(100, abs=2)
    assert checks == pytest.approx(100, abs=2)


def test_renders_too_young_to_be_done_are_not_read() -> None:
    schedule = make_schedule(render_median_seconds=1_000.0)
    schedule.add([rendering(created=float(number)) for number in range(50)], now=0.0)
    assert follow(schedule, start=0.0, until=30.0) == []


def test_a_sweep_covers_neighbours_by_the_providers_time() -> None:
    schedule = make_schedule()
    schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(30)], now=0.0)
    (sweep,) = schedule.take_due(now=0.1, limit=NO_LIMIT)
    assert sweep == Sweep(1_000.0, 1_029.0, 1)


def test_a_page_holds_a_hundred_renders_and_ended_ones_count() -> None:
    schedule = make_schedule()
    renders = [rendering(created=1_000.0 + number, age=20.0) for number in range(250)]
    schedule.add(renders, now=0.0)
    schedule.end([each.prediction_id for each in renders[1:250:2]])
    for _, sweep in sweeps_in(follow(schedule, start=0.1, until=20.0)):
        assert sweep.created_before - sweep.created_after < 100


def test_a_window_leaves_room_for_what_others_submit() -> None:
    schedule = make_schedule()
    schedule.configure(list_lag_seconds=0.0, delivered=0.0, own_share=0.5)
    schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(250)], now=0.0)
    sweeps = sweeps_in(follow(schedule, start=0.1, until=20.0))
    assert {sweep.created_before - sweep.created_after + 1 for _, sweep in sweeps} <= set(range(49))
    schedule.configure(list_lag_seconds=0.0, delivered=0.0, own_share=1.0)
    sweeps = sweeps_in(follow(schedule, start=20.0, until=30.0))
    assert max(sweep.created_before - sweep.created_after + 1 for _, sweep in sweeps) == WINDOW_SIZE


@pytest.mark.parametrize("requests_per_second", [None, 2.0])
def test_more_is_checked_where_a_delay_idles_a_slot(requests_per_second: float | None) -> None:
    """Twice as often or more by default; a budget that a person has set holds all the same."""

    def count(*, delay_idles: bool) -> int:
        schedule = make_schedule(watch_requests_per_second=requests_per_second)
        schedule.configure(list_lag_seconds=0.0, delivered=0.0, delay_idles=delay_idles)
        schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(50)], now=0.0)
        return len(follow(schedule, start=0.1, until=20.0))

    usual, more = count(delay_idles=False), count(delay_idles=True)
    assert more > 2 * usual if requests_per_second is None else more <= 2.0 * 20 + 1


def test_a_render_alone_is_polled_and_no_more_often_than_the_provider_asks() -> None:
    schedule, render = make_schedule(), rendering()
    schedule.add([render], now=0.0)
    checks = follow(schedule, start=0.0, until=300.0)
    times = polls_of(checks, render.prediction_id)
    assert len(times) == len(checks) > 5
    assert all(later - earlier >= SHORTEST - 1e-6 for earlier, later in pairwise([0.0, *times]))
    assert all(later - earlier <= LONGEST_SPACING_SECONDS + 2 for earlier, later in pairwise([0.0, *times]))


@given(count=st.integers(1, 8), age=st.floats(0, 5_000), cost=st.sampled_from([0.001, 0.5, 60.0]))
def test_renders_share_the_spacing_that_the_provider_asks_for(count: int, age: float, cost: float) -> None:
    schedule = make_schedule(poll_cost_seconds=cost)
    schedule.add([rendering(created=1_000.0 + number, age=age) for number in range(count)], now=0.0)
    checks = follow(schedule, start=0.0, until=100.0)
    assert len(checks) <= (100.0 / SHORTEST + 1) * count


def test_a_render_alone_is_polled_by_the_square_root_law() -> None:
    settings = make_settings(poll_shortest_seconds=0.5)
    times = RenderTimes(settings)
    schedule, render = CheckSchedule(settings, times), rendering()
    schedule.add([render], now=0.0)
    polls = polls_of(follow(schedule, start=0.0, until=60.0), render.prediction_id)
    assert len(polls) > 10
    believed = times.find(render.video_model, render.values)
    price = settings.find_poll_cost() / SURER
    for last, at in pairwise([0.0, *polls]):
        planned = next_check_age(believed, age=last, request_cost_seconds=price, shortest=0.5, longest=60)
        assert at == pytest.approx(planned, abs=0.2)


def test_a_render_in_no_page_is_polled() -> None:
    schedule, render = make_schedule(), rendering(created=None)
    schedule.add([render, *(rendering(created=float(number)) for number in range(20))], now=0.0)
    assert polls_of(follow(schedule, start=0.0, until=60.0), render.prediction_id)


def test_a_check_carries_its_render() -> None:
    schedule, render = make_schedule(), rendering(claim=3)
    schedule.add([render], now=0.0)
    checks = [check for _, check in follow(schedule, start=0.0, until=200.0)]
    assert checks[:2] == [Poll(render.prediction_id, "pilot/7", 3, number) for number in (1, 2)]


def test_the_limit_is_kept_and_what_is_left_stays_due() -> None:
    schedule, renders = make_schedule(), [rendering(created=None) for _ in range(7)]
    schedule.add(renders, now=0.0)
    taken = [schedule.take_due(now=50.0 + number, limit=3) for number in range(4)]
    assert [len(checks) for checks in taken] == [3, 3, 1, 0]
    assert {check.prediction_id for checks in taken for check in checks if isinstance(check, Poll)} == {
        each.prediction_id for each in renders
    }


def test_a_render_that_ended_is_forgotten() -> None:
    schedule, ended, goes_on = make_schedule(), rendering(), rendering(created=1_001.0)
    schedule.add([ended, goes_on], now=0.0)
    schedule.end([ended.prediction_id])
    assert len(schedule) == 1
    assert not polls_of(follow(schedule, start=0.0, until=100.0), ended.prediction_id)


def test_a_render_that_ended_unnoticed_is_forgotten_too() -> None:
    schedule, ended, goes_on = make_schedule(), rendering(), rendering(created=1_001.0)
    schedule.add([ended, goes_on], now=0.0)
    schedule.retain_only([goes_on.prediction_id])
    assert len(schedule) == 1


def test_an_early_check_request_is_followed_at_once_and_once() -> None:
    schedule, render = make_schedule(render_median_seconds=1_000.0), rendering(age=10.0)
    hint = render._replace(early_check_at=5.0)
    schedule.add([render], now=0.0)
    schedule.request_early([hint], now=0.0)
    assert [check.number for check in schedule.take_due(now=0.0, limit=NO_LIMIT)] == [1]
    schedule.request_early([hint], now=7.0)
    assert schedule.take_due(now=7.0, limit=NO_LIMIT) == []
    schedule.request_early([render._replace(early_check_at=6.0)], now=8.0)
    assert len(schedule.take_due(now=8.0, limit=NO_LIMIT)) == 1


def test_an_early_check_request_does_not_wait_for_a_slow_schedule() -> None:
    schedule, render = make_schedule(), rendering(age=600.0, windows=6)
    schedule.add([render], now=0.0, begins_window=True)
    schedule.request_early([render._replace(early_check_at=1.0)], now=1.0)
    assert polls_of(follow(schedule, start=1.0, until=20.0), render.prediction_id) == [pytest.approx(SHORTEST)]


def test_resumed_renders_take_turns_where_the_budget_is_short() -> None:
    schedule = make_schedule(watch_requests_per_second=2.0)
    renders = [rendering(age=600.0, windows=1, created=float(number)) for number in range(100)]
    schedule.add(renders, now=0.0)
    checks = follow(schedule, start=0.0, until=200.0)
    counts = [len(polls_of(checks, each.prediction_id)) for each in renders]
    assert max(counts) - min(counts) <= 1


def test_a_stuck_render_does_not_keep_the_places_of_ended_ones() -> None:
    schedule, stuck = make_schedule(), rendering(created=0.0, windows=1)
    schedule.add([stuck], now=0.0)
    for number in range(1, 500):
        render = rendering(created=float(number))
        schedule.add([render], now=float(number))
        schedule.end([render.prediction_id])
        schedule.take_due(now=float(number), limit=NO_LIMIT)
    assert len(schedule._order) < 50


def test_checks_outside_the_schedule_are_taken_from_its_budget() -> None:
    schedule = make_schedule(watch_requests_per_second=10.0)
    schedule.add([rendering(created=None, age=20.0) for _ in range(50)], now=0.0)
    assert schedule.budget.count_allowed(now=0.0) == 2
    schedule.budget.charge(2)
    assert schedule.take_due(now=0.01, limit=NO_LIMIT) == []


def test_a_question_about_the_budget_spends_nothing() -> None:
    schedule = make_schedule(watch_requests_per_second=2.0)
    schedule.add([rendering(created=None, age=20.0)], now=0.0)
    for number in range(10):
        schedule.budget.count_allowed(now=0.1 * number)
    assert len(schedule.take_due(now=1.0, limit=NO_LIMIT)) == 1


def test_renders_that_ended_before_this_leader_still_fill_pages() -> None:
    schedule = make_schedule()
    schedule.learn_places([1_000.5 + number for number in range(200)])
    schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(200)], now=0.0)
    sweeps = sweeps_in(follow(schedule, start=0.1, until=5.0))
    assert sweeps
    assert all(sweep.created_before - sweep.created_after < 50 for _, sweep in sweeps)


def test_an_early_check_request_waits_for_the_spacing_and_the_budget() -> None:
    schedule, render = make_schedule(render_median_seconds=1_000.0), rendering(age=10.0)
    schedule.add([render], now=0.0)
    schedule.request_early([render._replace(early_check_at=1.0)], now=0.0)
    schedule.take_due(now=0.0, limit=NO_LIMIT)
    schedule.request_early([render._replace(early_check_at=2.0)], now=0.5)
    assert polls_of(follow(schedule, start=0.5, until=20.0), render.prediction_id) == [pytest.approx(SHORTEST)]


def test_an_early_check_request_for_an_unwatched_render_is_ignored() -> None:
    schedule = make_schedule()
    schedule.request_early([rendering()._replace(early_check_at=1.0)], now=0.0)
    assert schedule.take_due(now=1.0, limit=NO_LIMIT) == []


def test_a_changed_claim_replans_and_leaves_one_schedule() -> None:
    schedule, old = make_schedule(), rendering(claim=1, age=600.0)
    schedule.add([old], now=0.0)
    new = old._replace(claim=2, watch_windows=1)
    schedule.add([new], now=1.0)
    assert len(schedule) == 1
    checks = follow(schedule, start=1.0, until=160.0)
    assert {check.claim for _, check in checks if isinstance(check, Poll)} == {2}
    for number, at in enumerate(polls_of(checks, new.prediction_id), start=1):
        assert at == pytest.approx(1.0 + 30 * number, abs=number * (LONGEST_REST_SECONDS + 0.1))


@pytest.mark.parametrize("windows", [1, 2, 3, 6])
def test_a_render_past_its_window_is_on_the_slower_schedule(windows: int) -> None:
    schedule, render = make_schedule(), rendering(age=600.0, windows=windows)
    schedule.add([render], now=50.0, begins_window=True)
    spacing = resumed_spacing(windows).total_seconds()
    (first, *_) = polls_of(follow(schedule, start=50.0, until=60.0 + spacing), render.prediction_id)
    assert 50.0 + spacing <= first <= 50.0 + spacing + LONGEST_REST_SECONDS + 0.1


@pytest.mark.parametrize("age", [61.0, 500.0, 86_400.0])
def test_an_old_render_waits_for_the_spacing_under_a_new_leader(age: float) -> None:
    schedule, render = make_schedule(), rendering(age=age)
    schedule.add([render], now=10.0)
    (first, *_) = polls_of(follow(schedule, start=10.0, until=30.0), render.prediction_id)
    assert 10.0 + SHORTEST <= first <= 10.0 + SHORTEST + LONGEST_REST_SECONDS + 0.1


@pytest.mark.parametrize("windows", [1, 6])
def test_a_resumed_render_is_checked_although_leaders_change(windows: int) -> None:
    schedule, render = make_schedule(), rendering(age=2_000.0, windows=windows)
    for began in (10.0, 610.0, 1_210.0):
        schedule.forget()
        schedule.add([render], now=began)
        (first, *_) = polls_of(follow(schedule, start=began, until=began + 20.0), render.prediction_id)
        assert began + SHORTEST <= first <= began + SHORTEST + LONGEST_REST_SECONDS + 0.1


def test_a_render_that_was_accepted_in_the_future_is_watched_as_from_now() -> None:
    def polls(age: float) -> list[float]:
        schedule, render = make_schedule(), rendering(age=age)
        schedule.add([render], now=10.0)
        return polls_of(follow(schedule, start=10.0, until=100.0), render.prediction_id)

    assert polls(-1_800.0) == polls(0.0) != []


def test_a_leader_that_lost_the_lead_forgets_everything() -> None:
    schedule = make_schedule()
    schedule.add([rendering()], now=0.0)
    schedule.forget()
    assert len(schedule) == 0
    assert schedule.find_next_at() is None
    assert schedule.take_due(now=1e6, limit=NO_LIMIT) == []


def test_webhooks_thin_the_checks_by_the_root_of_what_they_miss() -> None:
    def count(delivered: float) -> int:
        schedule = make_schedule(poll_shortest_seconds=0.01)
        schedule.configure(list_lag_seconds=0.0, delivered=delivered)
        schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(90)], now=0.0)
        return len(follow(schedule, start=0.0, until=20.0))

    assert 3 <= count(0.0) / count(0.96) <= 6


def test_lateness_is_measured_until_webhooks_tell_most_ends() -> None:
    schedule = make_schedule()
    Account(schedule, slots=3, renders=30).run()
    measured = schedule.measure_lateness()
    assert measured is not None
    for delivered, lateness in ((0.01, measured), (0.6, None), (0.4, measured)):  # a belief is never nothing
        schedule.configure(list_lag_seconds=0.0, delivered=delivered)
        assert schedule.measure_lateness() == lateness


def test_a_list_that_is_late_makes_polls_worth_more_than_sweeps() -> None:
    schedule = make_schedule(poll_shortest_seconds=1.0)
    schedule.configure(list_lag_seconds=15.0, delivered=0.0)
    schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(5)], now=0.0)
    checks = follow(schedule, start=0.0, until=30.0)
    assert len(sweeps_in(checks)) < len(checks) / 2


@pytest.mark.parametrize(("count", "median"), [(20, MEDIAN), (20, 3_600.0), (100, MEDIAN)])
def test_every_render_is_polled_while_the_list_fails(count: int, median: float) -> None:
    schedule, lag, now = make_schedule(watch_requests_per_second=2.0, render_median_seconds=median), 0.0, 0.0
    renders = [rendering(created=1_000.0 + number, age=20.0) for number in range(count)]
    schedule.add(renders, now=0.0)
    checks: list[tuple[float, Poll | Sweep]] = []
    while now < 600.0:
        taken = schedule.take_due(now=now, limit=NO_LIMIT)
        checks += [(now, check) for check in taken]
        lag *= 0.5 ** (0.05 / 300)
        if any(isinstance(check, Sweep) for check in taken):
            lag = min(60.0, max(5.0, 2 * lag))
        schedule.configure(list_lag_seconds=lag, delivered=0.0)
        now += 0.05
    assert len(sweeps_in(checks)) < len(checks) / 10
    for each in renders:
        times = [0.0, *polls_of(checks, each.prediction_id), 600.0]
        assert max(later - earlier for earlier, later in pairwise(times)) < 300


def test_a_sweep_is_now_and_then_checked_by_a_poll() -> None:
    schedule = make_schedule(poll_shortest_seconds=0.5)
    schedule.add([rendering(created=1_000.0 + number, age=20.0) for number in range(50)], now=0.0)
    checks = follow(schedule, start=0.0, until=30.0)
    polls = len(checks) - len(sweeps_in(checks))
    assert 0 < polls <= len(checks) / 10


@pytest.mark.parametrize(("model", "values"), [("studio/withdrawn", {"prompt": "x"}), ("", {"prompt": "x"})])
def test_a_render_of_an_older_catalogue_is_watched_all_the_same(model: str, values: dict[str, Any]) -> None:
    schedule, render = make_schedule(), rendering(model=model)._replace(values=values)
    schedule.add([render], now=0.0)
    assert len(schedule.take_due(now=50.0, limit=NO_LIMIT)) == 1
