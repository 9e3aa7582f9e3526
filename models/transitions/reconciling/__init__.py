"""Reconciliation runs, the rows of purchases, and pauses."""
