"""The reads. Those of the dispatcher are hot: each has its partial index, and a test holds its plan."""

from models.queries.dispatching import (
    DispatchAccount,
    Rendering,
    WatchedPrediction,
    count_threads,
    filter_rendering,
    find_account,
    find_seconds_until_due,
    find_watched,
    list_rendering,
)
from models.queries.health import Farm, Health, find_farm, find_health, find_migration
from models.queries.jobs import (
    BatchSummary,
    JobFilter,
    find_batch,
    find_job,
    list_artifacts,
    list_batches,
    list_events,
    list_jobs,
    list_predictions,
    summarise_batches,
)

__all__ = [
    "BatchSummary",
    "DispatchAccount",
    "Farm",
    "Health",
    "JobFilter",
    "Rendering",
    "WatchedPrediction",
    "count_threads",
    "filter_rendering",
    "find_account",
    "find_batch",
    "find_farm",
    "find_health",
    "find_job",
    "find_migration",
    "find_seconds_until_due",
    "find_watched",
    "list_artifacts",
    "list_batches",
    "list_events",
    "list_jobs",
    "list_predictions",
    "list_rendering",
    "summarise_batches",
]
