"""What a prediction costs, by its row: held until its verdict, then spent or given back."""

from models.lifecycle import NO_OUTPUT

_SETTLED = "coalesce(prediction.verdict, prediction.state)"

_EMPTY = f"({_SETTLED} = 'failed' AND prediction.error_code IS NOT DISTINCT FROM '{NO_OUTPUT}')"

HELD = """(prediction.state IN ('submitting', 'unconfirmed', 'rendering')
    OR (prediction.state = 'surplus' AND prediction.verdict IS NULL))"""
"""Without a verdict: the provider may still keep the price."""

SPENT = f"({_SETTLED} IN ('completed', 'deleted', 'lost') OR {_EMPTY})"
"""Paid for, as far as anybody knows: nobody says that a lost, a deleted or an empty one is given back."""

REFUNDED = f"""(prediction.provider_id IS NOT NULL
    AND {_SETTLED} IN ('failed', 'cancelled', 'timeout') AND NOT {_EMPTY})"""
"""Accepted, and given back by the provider's verdict."""
