"""The leader's periodic work: retention, reconciliation runs, reports, pruning, the account's status."""

import time
from uuid import UUID

import structlog

from models import Action, transitions
from models.db.errors import DatabaseAway, is_lock_failure
from models.db.session import one_statement, transaction
from models.queries.dispatching import DispatchAccount
from rushes.account_status import ACCOUNT, Condition, find_account_status
from rushes.jobs.actions import abort_action, advance_action, find_running_action
from rushes.runtime import Runtime
from rushes.timing import Every
from workers.dispatcher.claims import CLAIM_LIMIT
from workers.dispatcher.publisher import UNSTARTED_LEASE, Message, Publisher

REPORT_SECONDS, RISK_SECONDS, PRUNE_SECONDS = 30.0, 10.0, 30.0
"""How often the leader requests the report of the farm, the check of batches with a `finish_by`, and pruning."""
RETENTION_SECONDS = 10.0
"""How often the leader looks for renders near or past the end of the provider's retention."""
ACT_SECONDS = 0.1
"""How long a turn may work at actions. Submissions wait meanwhile."""
MOST_FAILED_ACTS = 5
"""An action whose chunk has failed this often in a row is aborted."""
LONGEST_CAUSE = 200
STATUS_SECONDS = 2.0
"""How often the leader reads the account's status, to log a change."""

log = structlog.get_logger(__name__)


class Errands:
    """Only the dispatcher's thread may use this. `now` is in monotonic seconds; `room` counts messages for a queue."""

    def __init__(self, runtime: Runtime, publisher: Publisher) -> None:
        self._runtime = runtime
        self._publisher = publisher
        self._retention = Every(RETENTION_SECONDS)
        self._reports = Every(REPORT_SECONDS)
        self._risks = Every(RISK_SECONDS)
        self._pruning = Every(PRUNE_SECONDS)
        self._status = Every(STATUS_SECONDS)
        self._batches_after = transitions.endings.FIRST  # those before were looked at
        self._failed_acts = 0  # in a row
        self._locked_act: UUID | None = None  # actions up to it wait for locks
        self._condition = Condition.OK  # as last logged

    def log_status(self, now: float) -> None:
        """Log each change of the account's status, with the cause or that it works again. A report follows at once."""
        if not self._status.begin_if_due(now):
            return
        with one_statement(self._runtime.sessions) as session:
            status = find_account_status(session, ACCOUNT)
        if status.condition is self._condition:
            return
        if status.is_ok:
            log.info("account.works_again", after=self._condition.value)
        else:
            log.warning(
                "account.stopped",
                condition=status.condition.value,
                message=status.message,
                what_to_do=status.what_to_do,
            )
        self._condition = status.condition
        self._reports.began_at = float("-inf")

    def end_retained(self, now: float) -> None:
        """End renders and downloads past the provider's retention, and report those near it."""
        if not self._retention.begin_if_due(now):
            return
        with transaction(self._runtime.sessions) as session:
            ended = transitions.retention.end_retained(session, count=CLAIM_LIMIT)
            near = transitions.retention.note_retention_near(session, count=CLAIM_LIMIT)
            unconfirmed = transitions.retention.hand_over_unconfirmed(session, count=CLAIM_LIMIT)
            downloads = transitions.unverified.end_expired_downloads(session, count=CLAIM_LIMIT)
            warned = transitions.unverified.warn_of_giving_up(session, count=CLAIM_LIMIT)
        if ended or near or unconfirmed:
            log.warning("dispatcher.retention", ended=ended, near=near, unconfirmed=unconfirmed)
        if downloads or warned:
            log.error("dispatcher.downloads_expire", given_up=downloads, within_a_day=warned)

    def end_batches(self) -> None:
        """Record the end of batches of which the last job has ended."""
        with transaction(self._runtime.sessions) as session:
            self._batches_after = transitions.endings.end_batches(session, after=self._batches_after)

    def reconcile(self, account: DispatchAccount, room: int) -> None:
        """Claim and publish a reconciliation run, if one is due."""
        if room <= 0:
            return
        with one_statement(self._runtime.sessions) as session:
            claim = transitions.runs.claim_reconcile(session, account.id, lease=UNSTARTED_LEASE)
        if claim is not None:
            # If the message is lost, its lease ends and another run is claimed.
            message = Message(
                "render.reconcile", "reconcile", (str(account.id), claim), f"reconcile-{account.id}-{claim}"
            )
            self._publisher.publish([message])

    def report(self, now: float, room: int, *, term: int | None, promises: bool) -> None:
        """Request the report of the farm, and the check of batches with a `finish_by` if there are any."""
        if room <= 0:
            return
        messages = []
        if self._reports.begin_if_due(now):
            messages.append(Message("queue.report", "report", (), f"report-{term}-{now:.0f}"))
        if promises and self._risks.begin_if_due(now):
            messages.append(Message("batch.check", "report", (), f"check-{term}-{now:.0f}"))
        self._publisher.publish(messages)

    def act(self) -> bool:
        """Advance people's actions on many jobs for a moment. Returns whether something is left to do at once."""
        until = time.monotonic() + ACT_SECONDS
        while action := find_running_action(self._runtime.sessions, after=self._locked_act):
            if time.monotonic() >= until:
                return True
            if not self._advance(action):
                return False
        self._locked_act = None
        return False

    def _advance(self, action: Action) -> bool:
        """Change the next jobs of an action. Returns False if a later turn has to try again.

        If they are locked, the next action has its turn first: the oldest may wait for a batch that is being filled. An
        action that fails again and again is aborted, so that it holds up neither the turns nor other actions.
        """
        try:
            advance_action(self._runtime.sessions, action)
        except DatabaseAway:
            raise
        except Exception as error:
            if is_lock_failure(error):
                self._locked_act = action.id
                return True
            self._failed_acts += 1
            log.exception("action.failed", action=str(action.id), attempt=self._failed_acts)
            if self._failed_acts >= MOST_FAILED_ACTS:
                cause = str(error).partition("\n")[0][:LONGEST_CAUSE]  # the rest may hold parameters
                problem = f"it failed {self._failed_acts} times in a row ({type(error).__name__}: {cause})"
                abort_action(self._runtime.sessions, action.id, problem=problem)
                self._failed_acts = 0
            return False
        self._failed_acts, self._locked_act = 0, None
        return True

    def prune(self, now: float, room: int, *, term: int | None) -> None:
        """Request pruning."""
        if room > 0 and self._pruning.begin_if_due(now):
            self._publisher.publish([Message("queue.prune", "store", (), f"prune-{term}-{now:.0f}")])
