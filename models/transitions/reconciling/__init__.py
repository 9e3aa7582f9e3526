"""Reconciliation runs, unknown predictions, an operator's decisions, and pauses after a restore."""
