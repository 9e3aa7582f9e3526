"""Submitting a prediction exactly once, within the rate limits."""
