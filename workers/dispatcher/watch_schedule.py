"""The leader's watching work: which renders are in flight, how long they take, and which checks to publish now."""

import time
from collections.abc import Sequence

import structlog
from sqlalchemy.orm import Session

from models import queries, transitions
from models.db.session import one_statement, transaction
from models.lifecycle import CHECKS_QUIET
from models.queries.dispatching import DispatchAccount, Survey
from models.transitions.watching.renders import TimedOutWatch
from rushes.render_times.learned import RenderTimes
from rushes.runtime import Runtime
from rushes.timing import Every
from rushes.watching.schedule import CheckSchedule
from rushes.watching.watched_render import Poll, Sweep
from workers.dispatcher.publisher import Message, name_step

CHECK_LIMIT = 500
NO_ROOM_SECONDS = 0.1
"""When to retry work that was due but found no room in its queue, or was forbidden."""
REBUILD_SECONDS = 60.0
EVER_SECONDS = 1e9
COMMIT_SECONDS = 10.0
"""Any commit becomes visible within this time."""
OVERLAP_SECONDS = 0.5
"""Nearly every commit becomes visible within this time."""
LEARN_SECONDS = 0.2
"""How often the leader reads which renders began and ended."""
RENDER_TIMES_SECONDS = 10.0
"""How often the leader learns from finished renders."""
WEIGH_SECONDS, FIRST_WEIGH_SECONDS = 10.0, 1.0
"""How often the leader measures the share of ended renders that webhooks report in time. The second applies while few
renders have ended."""
PRICE_SECONDS = 10.0
"""How often the leader records the value of a check, and the requests made."""
LOGGED_CHANGE = 0.1
"""The smallest change of the webhooks' share that is logged."""

log = structlog.get_logger(__name__)


class WatchScheduler:
    """Only the dispatcher's thread may use this. The caller publishes the returned messages; they hold no lease."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._render_times = RenderTimes(runtime.settings)
        self.schedule = CheckSchedule(runtime.settings, self._render_times)
        self._learning = Every(RENDER_TIMES_SECONDS)
        self._rebuilding = Every(REBUILD_SECONDS)
        self._overlapping = Every(COMMIT_SECONDS)
        self._weighing = Every(FIRST_WEIGH_SECONDS)
        self._pricing = Every(PRICE_SECONDS)
        self._recorded = 0  # requests of checks
        self._learned_at = float("-inf")
        self._standing: tuple[DispatchAccount, int | None] | None = None  # for checks between turns, while none fails
        self._room = 0
        self._delivered = 0.0  # share of ended renders that webhooks are expected to report in time
        self._delivered_logged = float("-inf")

    def forget(self) -> None:
        """Rebuild the schedule from rows at the next turn, because another worker led meanwhile."""
        self.schedule.forget()
        self._standing = None
        self._rebuilding = Every(REBUILD_SECONDS)

    def is_due(self, found: Survey) -> bool:
        """Whether a check may be due, or renders began or ended that the schedule does not know."""
        next_at = self.schedule.find_next_at()
        if found.account.check_failures and self._standing is not None:
            return True  # so that none is made between turns
        return self.must_learn(found) or (next_at is not None and next_at <= time.monotonic())

    def must_learn(self, found: Survey) -> bool:
        """Whether to read which renders began and ended: five times a second while there are any."""
        if not self.schedule and not found.room.live and not found.account.requests_owed:
            return False
        return found.due.early_checks or time.monotonic() - self._learned_at >= LEARN_SECONDS

    def find_seconds_until_check(self) -> float | None:
        """The time until the next check is due; None while no render is watched."""
        next_at = self.schedule.find_next_at()
        if next_at is None:
            return None
        seconds = next_at - time.monotonic()
        if seconds > 0:
            return seconds
        return 0.0 if self._standing is not None and self._room > 0 else NO_ROOM_SECONDS

    def learn_render_times(self) -> None:
        """Learn how long renders took, at most every ten seconds."""
        if self._learning.begin_if_due(time.monotonic()):
            with transaction(self._runtime.sessions) as session:
                self._render_times.refresh(session, records=True)

    def requeue_timed_out(self, *, count: int) -> list[Message]:
        """Begin the next, slower watch window of renders with a window that has passed. Returns a check of each; the
        slower schedule checks them in any case."""
        window = self._runtime.settings.watch_window
        if count <= 0:
            return []
        with transaction(self._runtime.sessions) as session:
            count = min(count, CHECK_LIMIT, self.schedule.budget.count_allowed(now=time.monotonic()))
            timed_out = transitions.renders.requeue_timed_out(session, watch_window=window, count=count)
            self.schedule.budget.charge(len(timed_out))
            if timed_out:
                ids = [each.prediction_id for each in timed_out]
                resumed = queries.renders.list_rendering_of(session, ids)
                self.schedule.add(resumed, now=time.monotonic(), begins_window=True)
        return [_resume_message(each) for each in timed_out]

    def choose_checks(
        self,
        account: DispatchAccount,
        *,
        count: int,
        term: int | None,
        learns: bool = True,
        jobs_wait: bool = False,
    ) -> Sequence[Message]:
        """The checks to make now, at most `count`. Empty while the account's checks are backed off.

        Without `learns`, it does not read which renders began and ended. `jobs_wait` says that jobs wait for a slot.
        """
        self._standing, self._room = None, count
        with one_statement(self._runtime.sessions) as session:
            if learns:
                self._learn(session, account)
            self._pay_debt(session, account)
            if account.check_back_off_seconds > 0 or count <= 0:
                return []
            if account.check_failures:
                transitions.accounts.clear_check_failures(session, account.id, quiet_for=CHECKS_QUIET)
                self._room = 1
        self._weigh_webhooks(account)
        self.schedule.configure(
            list_lag_seconds=account.sweep_lag_seconds,
            delivered=self._delivered,
            own_share=account.own_share,
            delay_idles=jobs_wait and not account.overcommit,
        )
        chosen = self._take_due(account, term)
        if not account.check_failures:
            self._standing = account, term
        return chosen

    def choose_between_turns(self) -> Sequence[Message]:
        """The checks that have become due since the last turn. Reads nothing; the last turn may have forbidden them."""
        return self._take_due(*self._standing) if self._standing is not None else []

    def _take_due(self, account: DispatchAccount, term: int | None) -> Sequence[Message]:
        checks = self.schedule.take_due(now=time.monotonic(), limit=min(self._room, CHECK_LIMIT))
        self._room -= len(checks)
        return [_check_message(account, check, term=term) for check in checks]

    def _learn(self, session: Session, account: DispatchAccount) -> None:
        """Read the renders that began, ended or got an early-check request since the last turn. From time to time, read
        all renders."""
        now = time.monotonic()
        if self._rebuilding.is_due(now):
            if self._rebuilding.began_at == float("-inf"):
                self.schedule.learn_places(queries.renders.list_ended_places(session, account.id))
            rendering = queries.renders.list_rendering(session, newer_than_seconds=EVER_SECONDS)
            self.schedule.retain_only(each.prediction_id for each in rendering)
            self._rebuilding.began_at = self._overlapping.began_at = now
            newer_than = COMMIT_SECONDS
        else:
            overlaps = self._overlapping.begin_if_due(now)
            newer_than = now - self._learned_at + (2 * COMMIT_SECONDS if overlaps else OVERLAP_SECONDS)
            rendering = queries.renders.list_rendering(session, newer_than_seconds=newer_than)
        self.schedule.add(rendering, now=now)
        for ended in queries.renders.list_ended(session, account.id, newer_than_seconds=newer_than):
            self.schedule.end([ended.prediction_id], now=now - ended.ago_seconds)
        self.schedule.request_early(rendering, now=now)
        self._learned_at = now

    def _pay_debt(self, session: Session, account: DispatchAccount) -> None:
        now = time.monotonic()
        if self._pricing.begin_if_due(now):
            price = float(f"{self.schedule.measure_price():.2g}")  # so that it changes rarely
            budget = self.schedule.budget
            spent, values = budget.spent, {"price": price, "budget": budget.rate}
            transitions.lists.record_checks(session, account.id, **values, requests=spent - self._recorded)
            self._recorded = spent
        if paid := self.schedule.pay_debt(account.requests_owed, now=now):
            transitions.lists.pay_requests(session, account.id, count=paid)

    def _weigh_webhooks(self, account: DispatchAccount) -> None:
        if self._runtime.settings.public_url is None or not self._weighing.begin_if_due(time.monotonic()):
            return
        with transaction(self._runtime.sessions) as session:
            delivery = queries.webhooks.measure_webhook_delivery(session, account.id)
        self._weighing.seconds = WEIGH_SECONDS if delivery.share is not None else FIRST_WEIGH_SECONDS
        self._delivered = delivery.belief
        if delivery.share is not None and abs(delivery.share - self._delivered_logged) >= LOGGED_CHANGE:
            self._delivered_logged = delivery.share
            log.info("dispatcher.webhooks", delivered_in_time=round(delivery.share, 2))


def _check_message(account: DispatchAccount, check: Poll | Sweep, *, term: int | None) -> Message:
    if isinstance(check, Poll):
        task_id = name_step("poll", check.place, check.prediction_id, check.claim, check.number)
        return Message("watch.poll", "watch", (str(check.prediction_id), check.claim), task_id)
    page = (str(account.id), check.created_after, check.created_before)
    return Message("watch.sweep", "watch", page, f"sweep-{term}-{check.number}")


def _resume_message(watch: TimedOutWatch) -> Message:
    task_id = name_step("resume", watch.place, watch.prediction_id, watch.claim)
    return Message("watch.resume", "resume", (str(watch.prediction_id), watch.claim), task_id)
