"""The leader's claims: jobs admitted to free slots, and due downloads. What is claimed is published or given back."""

import time
from datetime import timedelta
from functools import partial

import structlog

from models import queries, transitions
from models.db.session import one_statement, transaction
from models.queries.dispatching import DispatchAccount, Survey
from models.transitions.admission import RATE_WINDOW, ClaimedSubmit
from models.transitions.storing.claims import NO_LIMIT, ClaimedStore
from rushes.reconciling.epoch_file import keep_epoch
from rushes.runtime import Runtime
from rushes.storing.store_threads import count_store_threads
from rushes.submitting.limits import InFlightWindow, OvercommitSizer, SubmitTokenBucket, lateness_of_checks
from rushes.timing import Every
from workers.dispatcher.publisher import BACK_AT_ONCE, UNSTARTED_LEASE, Message, Publisher, name_step

OVERCOMMIT_RETRY = timedelta(hours=1)
"""After a concurrency 429, nothing is overcommitted for this long."""
CLAIM_LIMIT = 500
CAPPED_SECONDS = 2.0
"""How often jobs are admitted while the daily spending cap leaves too little for the next one."""
MEASURING_SECONDS = 2.0
"""How often the number of store threads is chosen."""

log = structlog.get_logger(__name__)


class SubmitDispatch:
    """Admits jobs to free slots, and publishes their submissions. Only the dispatcher's thread may use this."""

    def __init__(self, runtime: Runtime, publisher: Publisher) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._publisher = publisher
        lateness = lateness_of_checks(
            request_cost_seconds=settings.find_poll_cost(),
            median_seconds=settings.render_median_seconds,
            slots=settings.slots,
        )
        self._overcommit = OvercommitSizer(seen_seconds=lateness)
        self._bucket = SubmitTokenBucket(
            per_window=settings.submits_per_minute, window_seconds=RATE_WINDOW.total_seconds()
        )
        self._window = InFlightWindow()
        self._capped_until = float("-inf")

    def is_due(self, found: Survey) -> bool:
        """Whether jobs or submissions are due, and the account has room for one of them."""
        room, due = found.room, found.due
        admits = due.jobs and room.count_admissible(1) > 0 and time.monotonic() >= self._capped_until
        is_due = room.submits > 0 and (due.submits or admits)
        if not is_due:
            self._overcommit.note(now=time.monotonic(), admitted=0, submitting=room.submitting, free=room.free)
        return is_due

    def submit(self, account: DispatchAccount, *, room: int, threads: int) -> bool:
        """Admit, claim and publish at most `room` messages, for pools with `threads` threads in all.

        Returns whether there was no room for more.
        """
        now = time.monotonic()
        with transaction(self._runtime.sessions) as session:
            state = transitions.admission.count_free_slots(session, account.id)
            if state is None:
                return False
            state = state._replace(rate_slots=self._bucket.allow(now=now, left=state.rate_slots))
            handed_back = min(state.rate_slots, state.without_place)
            window = self._window.allow(now=now, threads=self._count_posters(threads), handed_back=handed_back)
            room = max(0, min(room, window - state.posting))
            admissible = state.count_admissible(room)
            admit = partial(transitions.admission.admit_jobs, session, account.id, spend_left=state.spend_left)
            admitted = admit(count=admissible) if admissible else 0
            if state.spend_left is not None and admitted < admissible:
                self._capped_until = now + CAPPED_SECONDS  # to sum up a day's prices takes time
            count = min(room, state.submits)
            claimed = transitions.admission.claim_submits(session, account.id, count=count, lease=UNSTARTED_LEASE)
            epoch = transitions.admission.advance_epoch(session, account.id) if claimed else 0
        if epoch:
            keep_epoch(self._runtime.settings.data_dir, account.id, epoch)  # before any of them can be bought

        self._bucket.take(len(claimed))
        self._overcommit.note(now=now, admitted=admitted, submitting=state.submitting, free=state.free - admitted)

        self._publisher.publish_or_give_back(
            [_submit_message(each) for each in claimed],
            self._runtime.sessions,
            lambda session: transitions.submitting.postpone_submits(session, claimed, delay=BACK_AT_ONCE),
        )
        return len(claimed) == room

    def adjust_slots(self, account: DispatchAccount, *, lateness: float | None) -> None:
        """Write how many renders may queue beyond the slots, and raise a learned limit that was too low.

        `lateness` is how late we know of completions, in seconds; None if it was not measured.
        """
        size: int | str = self._runtime.settings.overcommit
        if not isinstance(size, int):
            self._overcommit.seen_seconds = lateness or self._overcommit.seen_seconds
            size = self._overcommit.next_size(current=account.overcommit, slots=account.slots)
        if size != account.overcommit:
            with one_statement(self._runtime.sessions) as session:
                transitions.accounts.set_overcommit(session, account.id, overcommit=size, quiet_for=OVERCOMMIT_RETRY)
        if account.effective_slots is not None:
            with one_statement(self._runtime.sessions) as session:
                transitions.accounts.raise_slots(session, account.id)

    def _count_posters(self, threads: int) -> int:
        """How many submissions may be under way: one per thread, minus the threads for checks.

        More of them would wait for a thread, lose their rate slot and be handed back.
        """
        settings = self._runtime.settings
        posters = settings.count_submit_threads()
        return max(1, threads * posters // (posters + settings.watch_threads))


def _submit_message(claimed: ClaimedSubmit) -> Message:
    task_id = name_step("submit", claimed.place, claimed.prediction_id, claimed.claim)
    return Message("render.submit", "submit", (str(claimed.prediction_id), claimed.claim), task_id)


class StoreDispatch:
    """Handles downloads, crashed steps and the output host. Only the dispatcher's thread may use this."""

    def __init__(self, runtime: Runtime, publisher: Publisher) -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._measuring = Every(MEASURING_SECONDS)
        self._seconds_per_store = 1.0  # until it is measured
        self._most_running = NO_LIMIT

    def choose_threads(self, now: float, *, threads: int) -> None:
        """Choose how many of the pools' threads store files, unless the settings fix the number."""
        if self._runtime.settings.store_threads or not self._measuring.begin_if_due(now):
            return
        with one_statement(self._runtime.sessions) as session:
            load = queries.storing.measure_load(session)
        self._seconds_per_store = load.seconds_per_store or self._seconds_per_store
        self._most_running = count_store_threads(
            completions_per_second=load.completions_per_second,
            seconds_per_store=self._seconds_per_store,
            waiting=load.waiting,
            most=threads,
        )

    def take_back(self) -> None:
        """Take back the steps whose worker crashed."""
        with transaction(self._runtime.sessions) as session:
            crashed = transitions.claims.take_back_stores(session, count=CLAIM_LIMIT)
        for each in crashed:
            log.warning(
                "dispatcher.store_crashed", job_id=str(each.job_id), crashes=each.crashes, quarantined=each.quarantined
            )

    def watch_output_host(self, account: DispatchAccount) -> None:
        """Begin an outage of the output host, or end one if nothing can probe it any more."""
        with one_statement(self._runtime.sessions) as session:
            if account.outputs_failing:
                transitions.output_host.end_unprobed_outages(session)
            elif begun := transitions.output_host.begin_output_outage(session, account.id):
                log.warning("outputs.failing", jobs=begun.jobs, failure=begun.failure)

    def store(self, account: DispatchAccount, *, room: int) -> int:
        """Claim and publish the due downloads, at most `room`. During an outage, only one probe and rechecks.

        Returns how many.
        """
        if room <= 0:
            return 0
        failing = account.outputs_failing
        with one_statement(self._runtime.sessions) as session:
            probe = transitions.claims.claim_probe(session, account.id, lease=UNSTARTED_LEASE) if failing else []
            claimed = probe + transitions.claims.claim_stores(
                session,
                count=room,
                lease=UNSTARTED_LEASE,
                only_rechecks=failing,
                most_running=self._most_running,
            )
        self._publisher.publish_or_give_back(
            [_store_message(each) for each in claimed],
            self._runtime.sessions,
            lambda session: transitions.claims.postpone_stores(session, claimed, delay=BACK_AT_ONCE),
        )
        return len(claimed)


def _store_message(claimed: ClaimedStore) -> Message:
    task_id = name_step("store", claimed.place, claimed.prediction_id, claimed.claim)
    return Message("render.store", "store", (str(claimed.prediction_id), claimed.claim), task_id)
