"""What a prediction costs, by its row: held until its verdict, then spent or given back."""

HELD = """(prediction.state IN ('submitting', 'unconfirmed', 'rendering')
    OR (prediction.state = 'surplus' AND prediction.verdict IS NULL))"""
"""Without a verdict: the provider may still keep the price."""

SPENT = "coalesce(prediction.verdict, prediction.state) IN ('completed', 'deleted', 'lost')"
"""Paid for, as far as anybody knows: nobody says that a lost or a deleted one is given back."""

REFUNDED = """(prediction.provider_id IS NOT NULL
    AND coalesce(prediction.verdict, prediction.state) IN ('failed', 'cancelled', 'timeout'))"""
"""Accepted, and given back by the provider's verdict."""
