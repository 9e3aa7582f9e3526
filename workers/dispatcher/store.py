"""The leader's storing work: downloads, crashed steps, the output host."""

import structlog
from sqlalchemy.orm import Session

from models import transitions
from models.db.session import one_statement, transaction
from models.queries.dispatching import DispatchAccount
from models.transitions.storing.claims import ClaimedStore
from rushes.runtime import Runtime
from workers.dispatcher.publisher import BACK_AT_ONCE, UNSTARTED_LEASE, Message, Publisher

CLAIM_LIMIT = 500

log = structlog.get_logger(__name__)


class StoreDispatch:
    """Only the dispatcher's thread may use this."""

    def __init__(self, runtime: Runtime, publisher: Publisher) -> None:
        self._runtime = runtime
        self._publisher = publisher

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

    def store(self, account: DispatchAccount, *, room: int) -> None:
        """Claim and publish the due downloads, at most `room`. During an outage, only one probe and rechecks."""
        if room <= 0:
            return
        failing = account.outputs_failing
        with one_statement(self._runtime.sessions) as session:
            probe = transitions.claims.claim_probe(session, account.id, lease=UNSTARTED_LEASE) if failing else []
            claimed = probe + transitions.claims.claim_stores(
                session, count=room, lease=UNSTARTED_LEASE, only_rechecks=failing
            )

        def give_back(session: Session) -> None:
            transitions.claims.postpone_stores(session, claimed, delay=BACK_AT_ONCE)

        self._publisher.publish_or_give_back(
            [_store_message(each) for each in claimed], self._runtime.sessions, give_back
        )


def _store_message(claimed: ClaimedStore) -> Message:
    task_id = f"store-{claimed.job_id}-{claimed.prediction_id}-{claimed.claim}"
    return Message("render.store", "store", (str(claimed.prediction_id), claimed.claim), task_id)
