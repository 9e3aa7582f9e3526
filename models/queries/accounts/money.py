"""The cost of a prediction, from its row: held until its outcome, then spent or refunded."""

from models.lifecycle import NO_OUTPUT

_OUTCOME = "coalesce(prediction.outcome, prediction.state)"

_EMPTY = f"({_OUTCOME} = 'failed' AND prediction.error_code IS NOT DISTINCT FROM '{NO_OUTPUT}')"

HELD = """(prediction.state IN ('submitting', 'unconfirmed', 'rendering')
    OR (prediction.state = 'duplicate' AND prediction.outcome IS NULL))"""
"""The prediction has no outcome: the provider may still keep the price."""

SPENT = f"({_OUTCOME} IN ('completed', 'deleted', 'lost') OR {_EMPTY})"
"""Paid for, as far as we know: the provider does not promise a refund for a lost, deleted or empty one."""

REFUNDED = f"""(prediction.provider_id IS NOT NULL
    AND {_OUTCOME} IN ('failed', 'cancelled', 'timeout') AND NOT {_EMPTY})"""
"""Accepted, and refunded by the provider's outcome."""
