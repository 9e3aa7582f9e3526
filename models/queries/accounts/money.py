"""The cost of a prediction, from its row: held until its outcome, then spent or refunded."""

from models.lifecycle import NO_OUTPUT

HELD = "prediction.state IN ('submitting', 'unconfirmed', 'rendering')"
"""The prediction has no outcome: the provider may still keep the price."""

_EMPTY = f"(prediction.state = 'failed' AND prediction.error_code IS NOT DISTINCT FROM '{NO_OUTPUT}')"

SPENT = f"(prediction.state IN ('completed', 'deleted', 'lost') OR {_EMPTY})"
"""Paid for, as far as we know: the provider does not promise a refund for a lost, deleted or empty one."""

REFUNDED = f"""(prediction.provider_id IS NOT NULL
    AND prediction.state IN ('failed', 'cancelled', 'timeout') AND NOT {_EMPTY})"""
"""Accepted, and refunded by the provider's outcome."""
