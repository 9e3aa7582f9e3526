"""Every fault that a run can inject: failures of our processes and servers, and faults of the provider. Pure data."""

from collections.abc import Mapping
from typing import Any

Rules = dict[str, dict[str, Any]]
Span = tuple[float, float]
Spans = dict[str, Span]

PROCESS_FAULTS: Spans = {
    "kill_main": (0, 0),
    "kill_leader": (0, 0),
    "kill_store": (0, 0),
    "kill_api": (0, 0),
    "freeze_main": (6, 12),  # past the leader's lease of 5 s, and mostly past the submit lease of 8 s
    "freeze_leader": (6, 12),
    "freeze_store": (21, 23),  # past the store lease of 20 s
    "freeze_api": (2, 6),
}
"""SIGKILL and SIGSTOP, each with the shortest and the longest duration in seconds."""

CONNECTION_FAULTS: Spans = {"postgres_backends": (0, 0), "redis_clients": (0, 0)}
"""Connections cut from the server's side. These faults are also used on servers that others share."""

FLUSH_FAULTS: Spans = {"redis_flush": (0, 0)}

SERVER_FAULTS: Spans = {
    "redis_restart": (0, 0),
    "redis_kill": (0.5, 3),
    "redis_freeze": (2, 8),
    "postgres_restart": (0, 0),
    "postgres_kill": (0.5, 2),
}
"""Faults only for the run's own servers."""

PUSH_FAULTS = ("kill_api", "kill_main", "postgres_kill", "postgres_restart", "postgres_backends")
"""What may cut off a push and its answer, without long waits."""

CALLBACK_FAULTS = (*PUSH_FAULTS, "kill_leader", "kill_deliver")
"""What may cut off a push, or a callback and its answer. Only one scenario kills the worker for callbacks."""

BACKUP, RESTORE = "postgres_backup", "postgres_restore"
"""A copy of the stopped database, and its restore over a later state. Never drawn; one scenario applies them."""

DELIVER_FAULTS: Spans = {"kill_deliver": (0, 0)}

OWN_FAULTS: Spans = PROCESS_FAULTS | CONNECTION_FAULTS | FLUSH_FAULTS | SERVER_FAULTS

PROVIDER_FAULTS: Rules = {
    "submit_drop": {"probability": 0.3},
    "submit_504": {"probability": 0.3},
    "submit_hang": {"probability": 0.3},
    "submit_late": {"probability": 0.3, "delay": 2.0},
    "submit_garbage": {"probability": 0.3},
    "submit_error_with_task": {"probability": 0.5},
    "submit_bad_code": {"probability": 0.3},
    "submit_5xx": {"probability": 0.3},
    "submit_429": {"probability": 0.3, "retry_after": 1.0},
    "no_credit": {"probability": 0.3},
    "key_rejected": {"status": 401},
    "get_5xx": {"probability": 0.5},
    "get_429": {"probability": 0.5},
    "get_garbage": {"probability": 0.5},
    "get_hang": {"probability": 0.2, "delay": 4.0},
    "outage": {"status": 0},
    "slow_answer": {"probability": 0.5, "delay": 1.0},
    "drip_answer": {"probability": 0.3, "delay": 2.0},
    "task_failed": {"probability": 0.3},
    "task_moderated": {"probability": 0.1},
    "task_timeout": {"probability": 0.2},
    "task_cancelled": {"probability": 0.1},
    "task_deleted": {"probability": 0.1},
    "task_without_outputs": {"probability": 0.2},
    "task_unknown_progress": {"probability": 0.3},
    "list_without_inputs": {},
    "list_inputs_reordered": {},
    "list_inputs_with_defaults": {},
    "list_inputs_as_input": {},
    "download_cut": {"probability": 0.5},
    "download_slow": {"probability": 0.3, "delay": 3.0},
    "download_expired": {"probability": 0.3},
    "download_5xx": {"probability": 0.5},
    "download_garbage": {"probability": 0.3},
    "download_hang": {"probability": 0.2, "delay": 5.0},
    "download_empty": {"probability": 0.3},
    "download_truncated": {"probability": 0.3},
    "download_gzip": {"probability": 0.5},
    "download_partial": {"probability": 0.5},
    "download_container": {"probability": 0.5, "form": "mpegts"},
    "webhook_lost": {"probability": 0.5},
    "webhook_duplicated": {"probability": 0.5},
    "webhook_late": {"probability": 0.5, "delay": 5.0},
    "webhook_forged": {"probability": 0.5},
    "show_webhook": {"probability": 0.5},
}
"""Faults of the provider, each with its rule; they last 3 to 8 seconds, except those of the whole account.

Two faults are left out. `task_unknown_status` never ends: the render is watched until the retention of seven days
ends. `download_other` sends a file that is no video: after two equal downloads such a job ends as failed, by design,
and its render is paid for.
"""

LONG_RUNS_ONLY = frozenset({"task_without_outputs"})
"""Rushes believes it only after it has lasted for a minute: a short run would only wait for that."""

WHOLE_ACCOUNT = frozenset({"key_rejected", "no_credit", "outage"})
"""After these the account waits for longer than they last. They take 1 to 3 seconds; else a run would only wait."""

MINUTE_OUTAGE = "outage_minute"
"""The provider is away for a whole minute: once, in long runs only."""

ALIASES = {MINUTE_OUTAGE: "outage"}
"""Our kinds that stand for a fault with another name in the simulator."""

ALWAYS: Rules = {
    "submit_drop": {"probability": 0.04},
    "submit_504": {"probability": 0.03},
    "submit_hang": {"probability": 0.03},
    "submit_5xx": {"probability": 0.02},
    "get_5xx": {"probability": 0.03},
    "get_garbage": {"probability": 0.03},
    "task_failed": {"probability": 0.04},
    "download_cut": {"probability": 0.1},
    "download_garbage": {"probability": 0.04},
    "download_5xx": {"probability": 0.05},
    # Slow answers, so that some processes die in the middle of a POST.
    "slow_answer": {"probability": 0.3, "delay": 0.5, "kind": "submit"},
}
"""Active from the first second to the last, except while a stronger one of the same kind strikes."""

LOST_ANSWERS: Rules = {name: {"probability": 0.035} for name in ("submit_drop", "submit_504", "submit_hang")}
"""Together one answer in ten: 1 - 0.965**3."""

_LONG, _SHORT = (90.0, 150.0), (10.0, 20.0)

OUTPUT_FAULTS: tuple[tuple[str, Mapping[str, Any], Span], ...] = (
    ("download_expired", {"status": 403}, _LONG),
    ("download_expired", {"status": 404}, _LONG),
    ("download_garbage", {"same": True}, _LONG),
    ("download_garbage", {}, _LONG),  # each page has its own request id
    ("download_empty", {}, _LONG),
    ("download_truncated", {}, _LONG),
    ("download_gzip", {}, _SHORT),
    ("download_partial", {}, _SHORT),
    *(("download_container", {"form": form}, _SHORT) for form in ("mpegts", "avi", "flv", "mpeg", "matroska", "mov")),
)
"""How the output host fails in the scenario `outputs`: each fault, its rule, and its duration in seconds."""

OUTPUT_GAP: Span = (3.0, 6.0)
"""Seconds for which the output host is healthy between some of them."""
