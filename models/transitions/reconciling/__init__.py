"""Reconciliation runs, unknown predictions, decisions of a person, and pauses after a restore."""
