"""The cost of a prediction, from its row: held until its outcome, then spent or refunded."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from models.lifecycle import NO_OUTPUT

HELD = "prediction.state IN ('submitting', 'unconfirmed', 'rendering')"
"""The prediction has no outcome: the provider may still keep the price."""

_EMPTY = f"(prediction.state = 'failed' AND prediction.error_code IS NOT DISTINCT FROM '{NO_OUTPUT}')"

SPENT = f"(prediction.state IN ('completed', 'deleted', 'lost') OR {_EMPTY})"
"""Paid for, as far as we know: the provider does not promise a refund for a lost, deleted or empty one."""

REFUNDED = f"""(prediction.provider_id IS NOT NULL
    AND prediction.state IN ('failed', 'cancelled', 'timeout') AND NOT {_EMPTY})"""
"""Accepted, and refunded by the provider's outcome."""

SPENT_TODAY = f"""SELECT coalesce(sum(price), 0) FROM prediction
    WHERE id >= :today AND created_at >= date_trunc('day', now(), 'UTC') AND account_id = account.id
      AND ({HELD} OR {SPENT})"""
"""Dollars held and spent for predictions that were created on this day of UTC, for a query of `account`.

`today` is `first_id_of_today()`: ids sort by time, so only the day's rows are read.
"""


def first_id_of_today() -> UUID:
    """Return an id before all that were made on this day of UTC, by any clock that is less than an hour wrong."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=1)
    return UUID(int=int(day.timestamp() * 1000) << 80)
