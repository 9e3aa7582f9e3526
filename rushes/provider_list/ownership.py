"""Checks that a list belongs to the account in our rows, and not to another account's key.

Control predictions are predictions of ours that were accepted shortly before the one in question, so under the same
key. If the list shows none of them, the absence of any other prediction proves nothing.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from models import queries, transitions
from models.db.session import transaction
from models.queries.reconciling.runs import ControlPrediction
from rushes.errors import Transient
from rushes.runtime import Runtime

ADVICE = "the provider's list shows no prediction that was accepted before it: is this the key of another account?"
LIST_LAG = timedelta(seconds=60)
"""Later control predictions count only after the list has had this time to show them."""

log = structlog.get_logger(__name__)


class ForeignList(Transient):
    """The list shows none of the control predictions: it decides nothing."""


def is_ours(controls: Sequence[ControlPrediction], listed: Collection[str]) -> bool:
    """Whether the list shows a control prediction. Later ones count only if there are no earlier ones: the key may have
    changed.

    True if there is no control prediction at all: nothing contradicts it.
    """
    earlier = [each for each in controls if each.is_earlier]
    return not controls or any(each.provider_id in listed for each in earlier or controls)


def find_controls(
    runtime: Runtime, account_id: UUID, prediction_id: UUID, *, created_at: datetime
) -> list[ControlPrediction]:
    """Return the control predictions for a prediction that the provider seems to have lost."""
    with transaction(runtime.sessions) as session:
        until = queries.health.read_clock(session) - LIST_LAG
        return queries.runs.list_controls(session, account_id, {prediction_id: created_at}, until=until)


def log_foreign_list(runtime: Runtime, account_id: UUID, ids: Sequence[UUID], *, once: bool = True) -> None:
    """Record for each prediction why it is undecided, and log an error; with `once` only if one is newly recorded."""
    with transaction(runtime.sessions) as session:
        noted = transitions.unconfirmed.note_foreign_list(session, ids, message=ADVICE)
    if noted or not once:
        log.error("account.foreign_list", account_id=str(account_id), undecided=len(ids), advice=ADVICE)
