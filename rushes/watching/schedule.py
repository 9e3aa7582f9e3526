"""The leader's schedule of checks, held in memory and rebuilt from rows.

A check is one request. A poll asks for one render; a sweep reads a page of the provider's list, which holds up to a
hundred consecutive renders. The square-root law gives the worth of both. The check worth most goes next, once it is
worth the price of a request and the budget allows it.
"""

from bisect import insort
from collections.abc import Iterable
from uuid import UUID

from models.queries.watching.renders import Rendering
from rushes.render_times.learned import RenderTimes
from rushes.render_times.poll_spacing import resumed_spacing
from rushes.settings import Settings
from rushes.watching.spending import RequestBudget, RunningMean, Window, pick_windows, shrink_window
from rushes.watching.watched_render import LONGEST_SPACING_SECONDS, Poll, Sweep, Watched
from rushes.wavespeed.client import MAX_PAGE_SIZE

LONGEST_REST_SECONDS = 1.0
SHORTEST_REST_SECONDS = 0.03
EARLY = 0.9  # share of a rest: while hazards rise, worth grows faster than the square of the wait
REST_PER_RENDER_SECONDS = 20e-6
"""Weighing the checks takes time in proportion to the renders. Rests are far longer than that."""
WINDOW_SIZE = MAX_PAGE_SIZE - 2
"""A full page may be followed by another, and a neighbour within the same millisecond may be included."""
SURER = 1.25
"""How much more a poll is worth than a sweep that would see the same: it is never late and shows errors."""
LEAST_LAG_SECONDS = 0.1
LATENESS_SHARE = 0.02
"""The weight of one more render in the measured lateness."""
PRICE_SHARE = 0.05
"""The weight of one more check in the measured price."""
MOSTLY = 0.5
"""If webhooks report at least this share of outcomes, they and not checks determine how late we know."""
AUDIT_EVERY = 20
"""One sweep in this many also polls one of its renders, to detect a late list."""


class CheckSchedule:
    """Grants checks as soon as they are worth their price, within the budget of requests.

    All times are monotonic seconds. Requests outside the schedule are charged to the same `budget`. A render that
    outlived a watch window is polled on the slower schedule.
    """

    def __init__(self, settings: Settings, times: RenderTimes) -> None:
        self._settings = settings
        self._shortest = settings.poll_shortest_seconds
        self._times = times
        self._watched: dict[UUID, Watched] = {}
        self._order: list[tuple[float, int, Watched | None]] = []  # by the provider's time; ended ones keep their place
        self._apart: dict[UUID, Watched] = {}  # in no page: resumed, or without a provider's time
        self._requested: dict[UUID, None] = {}
        self._next_at: float | None = None
        self.budget = RequestBudget(settings.count_watch_requests_per_second())
        self._number = self._sweeps = self._added = 0
        self._lag_seconds = 0.0
        self._window_size = WINDOW_SIZE
        self._lateness = RunningMean(LATENESS_SHARE)
        self._delivered = 0.0
        self._price = settings.find_poll_cost()
        self._shadow_price = RunningMean(PRICE_SHARE, start=self._price)
        self._is_short = False  # a check worth its price waits for the budget

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, renderings: Iterable[Rendering], *, now: float, begins_window: bool = False) -> None:
        """Watch these renders. Known ones keep their schedule, unless their claim has changed.

        With `begins_window`, the process that began the watch window checks each one now.
        """
        for rendering in renderings:
            known = self._watched.get(rendering.prediction_id)
            if known is None or known.claim != rendering.claim:
                self._watch(rendering, now=now, is_met=known is None and not begins_window)

    def end(self, prediction_ids: Iterable[UUID], *, now: float | None = None) -> None:
        """Stop watching these: they have ended. `now` is when we learned it, if a check has found it."""
        for prediction_id in prediction_ids:
            if watched := self._watched.pop(prediction_id, None):
                watched.is_live = False
                if now is not None and watched.known_before > watched.accepted_at:
                    # On average a render ended halfway between the check that found it and the one before.
                    late = (watched.known_at - watched.known_before) / 2 + now - watched.known_at
                    self._lateness.add(max(0.0, late))
            self._apart.pop(prediction_id, None)
            self._requested.pop(prediction_id, None)

    def retain_only(self, prediction_ids: Iterable[UUID]) -> None:
        """Watch only these: all others have ended unnoticed."""
        self.end(self._watched.keys() - set(prediction_ids))

    def request_early(self, renderings: Iterable[Rendering], *, now: float) -> None:
        """Poll those with an early-check request as soon as the budget and their last poll allow.

        A repeated request counts once.
        """
        for rendering in renderings:
            watched, requested_at = self._watched.get(rendering.prediction_id), rendering.early_check_at
            if watched is not None and requested_at is not None and watched.early_check_at < requested_at:
                watched.early_check_at = requested_at
                self._requested[watched.prediction_id] = None
                self._next_at = now

    def configure(
        self, *, list_lag_seconds: float, delivered: float, own_share: float = 1.0, delay_idles: bool = False
    ) -> None:
        """Set the list's lag, the share of outcomes that webhooks deliver, and the share of a page that is ours.

        `delay_idles` says that a slot is idle until its render is known to have ended: checks are then worth more.
        """
        self._price = self._settings.find_poll_cost(delay_idles=delay_idles)
        self.budget.rate = self._settings.count_watch_requests_per_second(delay_idles=delay_idles)
        self._window_size = shrink_window(WINDOW_SIZE, share=own_share)
        self._lag_seconds = list_lag_seconds if list_lag_seconds >= LEAST_LAG_SECONDS else 0.0
        self._delivered = delivered

    def forget(self) -> None:
        """Drop everything: another process leads now."""
        self._watched.clear()
        self._order.clear()
        self._apart.clear()
        self._requested.clear()
        self._next_at = None

    def measure_lateness(self) -> float | None:
        """Return how late we recently knew of completions, in seconds; None without data or if webhooks report most."""
        return self._lateness.value if self._delivered < MOSTLY else None

    def measure_price(self) -> float:
        """Return the seconds of delay that a check recently had to be worth. They exceed its cost only if the budget is
        short. This is the shadow price of a request (docs/decisions/0011)."""
        return self._shadow_price.value or self._price

    def find_next_at(self) -> float | None:
        """Return when to call `take_due` again; None while no render is watched."""
        return self._next_at if self._watched else None

    def take_due(self, *, now: float, limit: int) -> list[Poll | Sweep]:
        """Return the checks to make now, at most `limit` and never more than the budget."""
        self.budget.fill(now)
        if limit <= 0 or self.budget.is_in_debt or self._next_at is None or now < self._next_at:
            return []
        self._next_at = now + LONGEST_REST_SECONDS
        requested = self._take_requested(now, limit=limit)
        return [*requested, *self._take_worthwhile(now, limit=limit - len(requested))]

    def pay_debt(self, owed: int, *, now: float) -> int:
        """Pay for requests made beyond those granted; return how many. No check is made until all are paid."""
        paid = self.budget.pay_debt(owed, now=now)
        if self.budget.is_in_debt and self._next_at is not None:
            self._next_at = max(self._next_at, now + self.budget.seconds_until_payable())
        return paid

    def learn_places(self, created: Iterable[float]) -> None:
        """Add renders that ended before this leader began, by the provider's time: they fill pages, too."""
        for created_at in created:
            self._added += 1
            insort(self._order, (created_at, self._added, None))

    def _watch(self, rendering: Rendering, *, now: float, is_met: bool) -> None:
        watched = Watched.begin(rendering, self._times, now=now, is_met=is_met)
        age = now - watched.accepted_at
        watched.space(watched.known_at if age < LONGEST_SPACING_SECONDS else now, shortest=self._shortest)
        if is_met:
            watched.due_at = watched.poll_at = watched.early_poll_at
        self.end([rendering.prediction_id])
        self._watched[rendering.prediction_id] = watched
        if watched.watch_windows or watched.created_at is None:
            self._apart[rendering.prediction_id] = watched
        if watched.watch_windows == 0 and watched.created_at is not None:
            self._added += 1
            insort(self._order, (watched.created_at, self._added, watched))
        self._rest_until(now + max(0.0, LONGEST_REST_SECONDS - age), now=now)

    def _take_requested(self, now: float, *, limit: int) -> list[Poll]:
        ready = [each for each in map(self._watched.__getitem__, self._requested) if each.early_poll_at <= now]
        polls = [self._poll(each, now=now) for each in ready[: min(limit, int(self.budget.tokens))]]
        waiting = [self._watched[each].early_poll_at for each in self._requested]
        if waiting:
            self._rest_until(min(waiting), now=now)
        return polls

    def _take_worthwhile(self, now: float, *, limit: int) -> list[Poll | Sweep]:
        listed, ranks = self._list_watched()
        worths = [self._weigh_page(each, now) for each in listed]
        windows = pick_windows(ranks, worths, size=self._window_size, price=self._price)
        singles = self._list_singles(listed, windows)
        choices: list[tuple[float, Window | Watched]] = [
            (each.worth, each) for each in windows if each.first < each.last
        ]
        choices += [(worth * SURER, each) for each in singles if (worth := self._weigh_poll(each, now)) > 0]
        choices.sort(key=lambda choice: choice[0], reverse=True)
        waiting = [each.due_at for each in listed if each.due_at > now]
        waiting += [each.poll_at for each in singles if each.poll_at > now]
        if waiting:
            self._rest_until(min(waiting), now=now)
        taken: list[Poll | Sweep] = []
        for place, (worth, choice) in enumerate(choices):
            if worth < self._price or self.budget.tokens < 1 or len(taken) >= limit:
                self._is_short = worth >= self._price
                for missed in choices[place:]:
                    self._plan_rest(*missed, listed=listed, now=now)
                return taken
            taken += self._make(choice, listed=listed, now=now)
            self._shadow_price.add(worth if self._is_short else self._price)
        if taken:
            self._rest_until(now, now=now)
        return taken

    def _make(self, choice: Window | Watched, *, listed: list[Watched], now: float) -> list[Poll | Sweep]:
        """Return the chosen check, unless earlier checks of this turn have left it worth too little."""
        if isinstance(choice, Watched):
            return [self._poll(choice, now=now)] if self._weigh_poll(choice, now) * SURER >= self._price else []
        covered = listed[choice.first : choice.last + 1]
        if sum(self._weigh_page(each, now) for each in covered) < self._price:
            return []
        return self._sweep(covered, now=now)

    def _list_watched(self) -> tuple[list[Watched], list[int]]:
        """Return the renders that a page can show, in the list's order, with their places in it."""
        live = [(rank, watched) for rank, (_, _, watched) in enumerate(self._order) if watched and watched.is_live]
        del self._order[: live[0][0] if live else len(self._order)]
        return [watched for _, watched in live], [rank for rank, _ in live]

    def _list_singles(self, listed: list[Watched], windows: list[Window]) -> list[Watched]:
        """Return renders that may be worth a poll: those in no page or alone in one; if the list is late, all."""
        if self._lag_seconds:
            return [*self._watched.values()]
        return [*self._apart.values(), *(listed[each.first] for each in windows if each.first == each.last)]

    def _weigh_page(self, watched: Watched, now: float) -> float:
        if watched.watch_windows or now < watched.due_at:
            return 0.0
        shown_at = now - self._lag_seconds
        worth = watched.weigh(shown_at, delivered=self._delivered)
        return max(worth, self._price) if shown_at - watched.known_at >= LONGEST_SPACING_SECONDS else worth

    def _weigh_poll(self, watched: Watched, now: float) -> float:
        if now < watched.poll_at:
            return 0.0
        if watched.watch_windows:  # worth more the longer it is overdue, so that none starves if the budget is short
            spacing = resumed_spacing(watched.watch_windows).total_seconds()
            return self._price * max(1.0, (now - watched.known_at) / spacing)
        worth = watched.weigh(now, delivered=self._delivered)
        return max(worth, self._price) if now - watched.known_at >= LONGEST_SPACING_SECONDS else worth

    def _poll(self, watched: Watched, *, now: float) -> Poll:
        watched.note_running(now, delivered=self._delivered)
        watched.space(now, shortest=self._shortest)
        self._requested.pop(watched.prediction_id, None)
        self.budget.take()
        self._number += 1
        return Poll(watched.prediction_id, watched.place, watched.claim, self._number)

    def _sweep(self, covered: list[Watched], *, now: float) -> list[Poll | Sweep]:
        pollable = [each for each in covered if now >= each.poll_at]
        worthiest = max(pollable, key=lambda each: each.weigh(now, delivered=self._delivered), default=None)
        # The provider asks for one request per render every `shortest` seconds. Renders of a page share its request.
        spacing = self._shortest / len(covered)
        for each in covered:
            each.note_running(now - self._lag_seconds, delivered=self._delivered)
            if not each.watch_windows:
                each.due_at = now + spacing
        self.budget.take()
        self._number += 1
        self._sweeps += 1
        created = [each.created_at for each in (covered[0], covered[-1]) if each.created_at is not None]
        checks: list[Poll | Sweep] = [Sweep(created[0], created[-1], self._number)]
        if self._sweeps % AUDIT_EVERY == 0 and self.budget.tokens >= 1 and worthiest:
            checks.append(self._poll(worthiest, now=now))
        return checks

    def _plan_rest(self, worth: float, choice: Window | Watched, *, listed: list[Watched], now: float) -> None:
        """Come back when this check will be worth its price: worth grows like the square of the wait."""
        if worth >= self._price:
            self._rest_until(now + self.budget.seconds_until(1), now=now)
            return
        if isinstance(choice, Watched):
            waits = (now - choice.known_at) / SURER
        else:
            covered = listed[choice.first : choice.last + 1]
            waits = sum(self._weigh_page(each, now) * (now - each.known_at) for each in covered) / worth
        self._rest_until(now + EARLY * waits * ((self._price / worth) ** 0.5 - 1), now=now)

    def _rest_until(self, at: float, *, now: float) -> None:
        rested = max(at, now + max(SHORTEST_REST_SECONDS, REST_PER_RENDER_SECONDS * len(self._watched)))
        self._next_at = rested if self._next_at is None else min(self._next_at, rested)
