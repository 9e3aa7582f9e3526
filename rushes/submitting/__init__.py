"""Submitting a prediction, exactly once, and at which rate."""
