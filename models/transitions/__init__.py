"""The moves: one function per change of state, each one guarded UPDATE that also appends its event.

Every function returns what it moved, or None (or False) where somebody was first or the claim is stale; nothing is
raised for losing a race. No two moves can wait for each other: predictions are locked before their jobs, an
account's row last of all, and who locks an account first (admission, claiming) takes the rest with SKIP LOCKED. Only
this folder writes a state.
"""

from models.transitions import accounts, admission, batches, jobs, leadership, slots, stale_writes, submitting
from models.transitions.reconciling import operator_decisions, restore, runs, unconfirmed, unknown_predictions
from models.transitions.storing import claims, duplicates, output_host, steps, unverified
from models.transitions.watching import duplicate_renders, finished_renders, lists, renders, retention, webhooks

__all__ = [
    "accounts",
    "admission",
    "batches",
    "claims",
    "duplicate_renders",
    "duplicates",
    "finished_renders",
    "jobs",
    "leadership",
    "lists",
    "operator_decisions",
    "output_host",
    "renders",
    "restore",
    "retention",
    "runs",
    "slots",
    "stale_writes",
    "steps",
    "submitting",
    "unconfirmed",
    "unknown_predictions",
    "unverified",
    "webhooks",
]
