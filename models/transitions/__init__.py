"""The transitions. Each function makes one change of state by one guarded UPDATE that also appends its event.

Every function returns the rows it changed, or None (or False) if another process was first or the claim is stale.
Losing a race raises nothing. Transitions cannot deadlock: they lock a batch before all else, predictions before their
jobs, and an account's row last. A transition that locks an account first (admission, claiming) takes the other locks
with SKIP LOCKED. Only this folder writes a state.
"""

from models.transitions import (
    accounts,
    actions,
    admission,
    jobs,
    leadership,
    pruning,
    retries,
    stale_writes,
    submitting,
    uploads,
)
from models.transitions.access import answered, audit_log, keys
from models.transitions.batches import endings, filling
from models.transitions.callbacks import attempts, deliveries, endpoints
from models.transitions.reconciling import pauses, purchases, runs
from models.transitions.storing import claims, output_host, steps, unverified
from models.transitions.watching import finished_renders, lists, renders, retention

__all__ = [
    "accounts",
    "actions",
    "admission",
    "answered",
    "attempts",
    "audit_log",
    "claims",
    "deliveries",
    "endings",
    "endpoints",
    "filling",
    "finished_renders",
    "jobs",
    "keys",
    "leadership",
    "lists",
    "output_host",
    "pauses",
    "pruning",
    "purchases",
    "renders",
    "retention",
    "retries",
    "runs",
    "stale_writes",
    "steps",
    "submitting",
    "unverified",
    "uploads",
]
