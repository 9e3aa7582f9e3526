"""The dispatcher: one worker leads and turns due rows into messages.

Every worker runs a dispatcher. A row with a lease names the leader. The lease only saves work: two leaders at once are
safe, because admission locks the account's row and every claim is a guarded UPDATE. The dispatcher sleeps until the
earliest row is due, a wake-up comes or one second has passed.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import structlog
from celery import Celery
from sqlalchemy.exc import SQLAlchemyError

from models import queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import one_statement, transaction
from models.queries.dispatching import Chores, DispatchAccount, Survey
from rushes.accounts import write_limits
from rushes.reconciling.epoch_file import hold_after_restore
from rushes.runtime import ACCOUNT, Runtime
from rushes.storing.store_check import StoreCheck
from rushes.timing import Every
from workers.dispatcher.callbacks import CallbackDispatch
from workers.dispatcher.claims import StoreDispatch, SubmitDispatch
from workers.dispatcher.errands import Errands
from workers.dispatcher.leadership import LeaderHealth
from workers.dispatcher.publisher import BrokerAway, Publisher
from workers.dispatcher.wakeup import Alarm
from workers.dispatcher.watch_schedule import NO_ROOM_SECONDS, WatchScheduler

LEAD_LEASE = timedelta(seconds=5)
SIGN_OF_LIFE_SECONDS, LEAD_SECONDS, STOP_SECONDS = 4.0, 1.0, 10.0
LONGEST_SLEEP_SECONDS = 1.0
SHORTEST_TURN_SECONDS = 0.04
"""The shortest turn. Wake-ups that arrive within it are served together."""
LONGEST_PAUSE_SECONDS = 0.2
"""When wake-ups are frequent, the dispatcher pauses between turns for as long as a turn takes, but no longer than this.
Steps then get processor time."""
ROUNDS_SECONDS = 0.5
"""How often the leader handles less urgent work: crashed steps, unconfirmed submissions, ended windows, workers."""
LONGEST_ERROR = 200

log = structlog.get_logger(__name__)


class Dispatcher:
    """Runs in its own thread with its own connections."""

    def __init__(self, runtime: Runtime, app: Celery, *, name: str, queues: Sequence[str], threads: int) -> None:
        self._runtime = runtime
        self._publisher = Publisher(app)
        self._name = name
        self._queues = tuple(queues)
        self._threads = threads
        self._leads = "submit" in queues  # a process that only stores videos does nothing else
        self._watch_scheduler = WatchScheduler(runtime)
        self._submit = SubmitDispatch(runtime, self._publisher)
        self._store = StoreDispatch(runtime, self._publisher)
        self._callbacks = CallbackDispatch(runtime, self._publisher)
        self._store_check = StoreCheck(runtime, stores="store" in queues)
        self._alarm = Alarm(runtime.settings.get_listen_url() if self._leads else None)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rushes-dispatcher", daemon=True)
        self._sign_of_life = Every(SIGN_OF_LIFE_SECONDS)
        self._renewal = Every(LEAD_SECONDS)
        self._rounds = Every(ROUNDS_SECONDS)
        self._errands = Errands(runtime, self._publisher)
        self._pools: dict[str, int] = {}
        self._term: int | None = None
        self._health = LeaderHealth()
        self._turns = 0
        self._turn_error: str | None = "unknown"  # as written into this worker's row
        self._turn_at = float("-inf")  # before this, a check that falls due needs no turn

    def start(self) -> None:
        """Start the thread and return at once."""
        self._store_check.start()
        self._thread.start()

    def stop(self) -> None:
        """Finish the current turn and resign, so that another worker leads at once."""
        self.resign()
        self._thread.join(timeout=STOP_SECONDS)

    def resign(self) -> None:
        """Request the same as `stop`, and return at once."""
        self._stopping.set()
        self._alarm.ring()

    def count_turns(self) -> int:
        """Finished turns, including failed ones. The watchdog checks that the number grows."""
        return self._turns

    def _run(self) -> None:
        is_turn = True
        while not self._stopping.is_set():
            began = time.monotonic()
            seconds = self._turn_safely(None if is_turn else self._check_between_turns)
            self._turns += 1
            took = time.monotonic() - began
            self._stopping.wait(max(SHORTEST_TURN_SECONDS - took, min(took, LONGEST_PAUSE_SECONDS)))
            woken = self._alarm.wait(min(seconds, LONGEST_SLEEP_SECONDS))
            is_turn = woken or time.monotonic() >= self._turn_at
        self._leave()

    def _turn_safely(self, work: Callable[[], float] | None = None) -> float:
        """Make a turn, or do other work of one. Returns the seconds until something is due."""
        began = time.monotonic()
        try:
            seconds = work() if work is not None else self._turn()
        except DatabaseAway:
            log.warning("dispatcher.database_away")
            return LONGEST_SLEEP_SECONDS
        except BrokerAway as error:
            log.warning("dispatcher.broker_away", error=str(error))
            self._watch_scheduler.forget()  # checks that were not published were not made
            self._note_turns(f"Redis cannot be reached: {error}")
        except Exception as error:  # the dispatcher must never end silently
            log.exception("dispatcher.turn_failed")
            self._note_turns(f"{type(error).__name__}: {error}")
        else:
            self._health.note_good()
            if self._term is not None or self._health.may_lead(time.monotonic()):  # else it only stands aside
                self._note_turns(None)
            return seconds
        if self._health.note_failed(began=began, now=time.monotonic()) and self._term is not None:
            self._stand_aside()
        return LONGEST_SLEEP_SECONDS

    def _note_turns(self, error: str | None) -> None:
        """Write a changed error into this worker's row. If the database is away, the next turn tries again."""
        if error is not None:
            error = error.partition("\n")[0][:LONGEST_ERROR]  # the rest may hold parameters
        if error == self._turn_error:
            return
        with contextlib.suppress(DatabaseAway, SQLAlchemyError):
            with one_statement(self._runtime.sessions) as session:
                is_written = transitions.leadership.note_turns(session, self._name, error=error)
            if is_written or error is None:
                self._turn_error = error

    def _stand_aside(self) -> None:
        """Let another worker lead: it may reach servers that this one cannot. If none leads, lead again in a few
        seconds."""
        log.warning("dispatcher.stands_aside", term=self._term)
        self._term = None
        self._give_up_lead(leaves=False)

    def _turn(self) -> float:
        """Do all due work once. Returns the seconds until something is due."""
        now, self._turn_at = time.monotonic(), float("-inf")
        self._show_life(now)
        if not self._leads or not self._health.may_lead(now) or not self._take_lead(now):
            return LONGEST_SLEEP_SECONDS
        with one_statement(self._runtime.sessions) as session:
            found = queries.dispatching.survey(session, ACCOUNT)
        if found is None:
            return LONGEST_SLEEP_SECONDS  # its row is created with the first sign of life
        hold_after_restore(self._runtime, found.account)
        is_left = found.due.actions and self._errands.act()  # needs no Redis
        chores = self._begin_rounds(now)
        submits = self._submit.is_due(found)
        checks = self._watch_scheduler.is_due(found)
        callbacks = self._callbacks.is_due(now, has_endpoints=found.due.callbacks)
        room = {}
        if chores or submits or checks or found.due.stores or callbacks:
            room = self._publisher.measure_room(self._pools)
        if chores:
            self._make_rounds(found.account, chores, room, now)
        if submits:
            is_left |= self._submit.submit(
                found.account, room=room.get("submit", 0), threads=self._pools.get("submit", 0)
            )
        if found.due.stores:
            storable = room.get("store", 0)
            self._store.choose_threads(now, threads=self._pools.get("store", 0))
            stored = self._store.store(found.account, room=storable)
            is_left |= 0 < storable <= stored
        if checks:
            self._publish_checks(found, count=room.get("watch", 0))
        if callbacks:
            self._callbacks.send(room, self._pools)
        self._turn_at = time.monotonic() + self._find_rest(found, is_left=is_left)
        return self._find_seconds_until_due()

    def _publish_checks(self, found: Survey, *, count: int) -> None:
        chosen = self._watch_scheduler.choose_checks(
            found.account,
            count=count,
            term=self._term,
            learns=self._watch_scheduler.must_learn(found),
            jobs_wait=found.due.jobs and not found.room.is_held and not found.room.free,
        )
        self._publisher.publish(chosen)

    def _check_between_turns(self) -> float:
        """Publish the checks that have become due, from memory alone. Returns the seconds until something is due."""
        self._publisher.publish(self._watch_scheduler.choose_between_turns())
        return self._find_seconds_until_due()

    def _find_seconds_until_due(self) -> float:
        until_turn = max(0.0, self._turn_at - time.monotonic())
        until_check = self._watch_scheduler.find_seconds_until_check()
        return until_turn if until_check is None else min(until_turn, until_check)

    def _begin_rounds(self, now: float) -> Chores | None:
        """Find the less urgent work, if its time has come, and do the part of it that needs no broker."""
        if not self._rounds.begin_if_due(now):
            return None
        with one_statement(self._runtime.sessions) as session:
            chores = queries.dispatching.find_chores(session)
        self._pools = chores.threads
        if chores.overdue_submits:
            with one_statement(self._runtime.sessions) as session:
                transitions.submitting.mark_overdue_unconfirmed(session)
        if chores.unended_batches:
            self._errands.end_batches()
        self._errands.log_status(now)
        return chores

    def _make_rounds(self, account: DispatchAccount, chores: Chores, room: Mapping[str, int], now: float) -> None:
        """Do the less urgent work. What has nothing to do costs nothing."""
        self._submit.adjust_slots(account, lateness=self._watch_scheduler.schedule.measure_lateness())
        self._errands.end_retained(now)
        if chores.crashed_stores:
            self._store.take_back()
        if chores.failed_outputs or account.outputs_failing:
            self._store.watch_output_host(account)
        if chores.searches:
            self._errands.reconcile(account, room.get("reconcile", 0))
        if chores.ended_windows and not account.check_failures:  # no window ends while its checks fail
            self._publisher.publish(self._watch_scheduler.requeue_timed_out(count=room.get("resume", 0)))
        self._watch_scheduler.learn_render_times()
        self._errands.report(now, room.get("report", 0), term=self._term, promises=chores.promises)
        self._errands.prune(now, room.get("store", 0), term=self._term)

    def _show_life(self, now: float) -> None:
        if not self._sign_of_life.is_due(now):
            return
        state = self._store_check.get_state()
        with transaction(self._runtime.sessions) as session:
            transitions.leadership.see_worker(
                session, self._name, queues=self._queues, threads=self._threads, store=state
            )
            if self._leads:
                write_limits(self._runtime, session)
        self._sign_of_life.began_at = now

    def _take_lead(self, now: float) -> bool:
        is_due = self._renewal.begin_if_due(now)
        if self._term is not None and not is_due:
            return True
        with one_statement(self._runtime.sessions) as session:
            term = transitions.leadership.lead(session, self._name, lease=LEAD_LEASE)
        if term != self._term:
            log.info("dispatcher.leads" if term else "dispatcher.follows", term=term)
            self._watch_scheduler.forget()
        self._term = term
        return term is not None

    def _find_rest(self, found: Survey, *, is_left: bool) -> float:
        """Return the seconds until the next turn. `is_left` says that work was due and found no room."""
        waits = [LONGEST_SLEEP_SECONDS, found.due.next_seconds]
        if found.account.back_off_seconds > 0:
            waits.append(found.account.back_off_seconds)
        if found.room.live:
            waits.append(self._rounds.began_at + ROUNDS_SECONDS - time.monotonic())
        if found.due.callbacks:
            waits.append(max(SHORTEST_TURN_SECONDS, self._callbacks.find_seconds_until_due(time.monotonic())))
        rest = min(wait for wait in waits if wait is not None)
        return NO_ROOM_SECONDS if is_left or rest <= 0 else rest

    def _leave(self) -> None:
        self._store_check.stop()
        self._alarm.close()
        self._give_up_lead(leaves=True)

    def _give_up_lead(self, *, leaves: bool) -> None:
        try:
            with transaction(self._runtime.sessions) as session:
                transitions.leadership.resign(session, self._name)
                if leaves:
                    transitions.leadership.drop_worker(session, self._name)
        except (DatabaseAway, SQLAlchemyError):
            log.warning("dispatcher.not_resigned")  # the lease ends by itself
