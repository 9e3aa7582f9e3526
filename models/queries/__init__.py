"""The reads. The dispatcher's queries are hot: each has its partial index, and a test checks its plan."""

from models.queries import (
    actions,
    audit,
    dispatching,
    forecasting,
    health,
    job_lists,
    jobs,
    pruning,
    reconciling,
    storing,
    waiting,
)
from models.queries.access import audit_log, keys
from models.queries.accounts import status, summary
from models.queries.callbacks import deliveries, endpoints, wanted_events
from models.queries.events import feed
from models.queries.statistics import totals
from models.queries.watching import render_times, renders, webhooks

__all__ = [
    "actions",
    "audit",
    "audit_log",
    "deliveries",
    "dispatching",
    "endpoints",
    "feed",
    "forecasting",
    "health",
    "job_lists",
    "jobs",
    "keys",
    "pruning",
    "reconciling",
    "render_times",
    "renders",
    "status",
    "storing",
    "summary",
    "totals",
    "waiting",
    "wanted_events",
    "webhooks",
]
