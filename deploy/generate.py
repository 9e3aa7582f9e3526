"""Write the alert rules, their tests and the dashboard into a folder: `make dashboards`.

Every expression takes the maximum over the processes of the API, because each of them exports the same values.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Json = dict[str, Any]

NOTE = "# Made by deploy/generate.py: change that, and run `make dashboards`.\n"
CRITICAL, WARNING = "critical", "warning"
RULES_FILE, TESTS_FILE = "prometheus/alerts.yml", "prometheus/tests.yml"
HEALTHY_MINUTES, FAULTY_MINUTES = 60, 120
"""In the tests, a fault begins after the first and lasts for the second."""


class Alert(NamedTuple):
    """An alert. `wait` is how long its expression must hold. `series` has the values for its tests: healthy, faulty."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    page: str  # in docs/operations
    series: dict[str, tuple[str, str]]


def watch(name: str, metric: str, limit: str, wait: str, severity: str, summary: str, page: str) -> Alert:
    """An alert on one metric and a limit such as `> 60`. It is tested with a value on either side."""
    comparison, value = limit.split()
    healthy, faulty = (value, int(value) + 1) if comparison == ">" else (1 - int(value), value)
    values = {metric: (str(healthy), str(faulty))}
    return Alert(f"Rushes{name}", f"max by (job) ({metric}) {limit}", wait, severity, summary, page, values)


def watch_condition(name: str, condition: str, wait: str, severity: str, summary: str, page: str) -> Alert:
    """An alert on what stops the account."""
    metric = f'rushes_account_condition{{condition="{condition}"}}'
    return watch(name, metric, "== 1", wait, severity, summary, page)


def watch_growth(name: str, metric: str, limit: int, summary: str, page: str) -> Alert:
    """An alert on how much the counters of a metric grow in an hour, all its labels together."""
    selector = metric.partition("{")[0]
    expression = f"sum by (job) (max without (instance) (increase({selector}[1h]))) > {limit}"
    values = {metric: ("7", "7+1")}
    return Alert(f"Rushes{name}", expression, "0m", WARNING, summary, page, values)


ALERTS = (
    Alert(
        "RushesNoMetrics",
        "absent(rushes_workers)",
        "5m",
        CRITICAL,
        "The API exports no metrics: it is down, its database is away, or the key was revoked.",
        "servers.md#postgres-is-away",
        {"rushes_workers": ("1", "_")},
    ),
    watch(
        "NoWorkers", "rushes_workers", "== 0", "2m", CRITICAL,
        "No worker is alive: jobs are accepted, but nothing is submitted, checked or stored.",
        "processes.md#a-worker-is-killed",
    ),
    Alert(
        "RushesNoLeader",
        "max by (job) (rushes_leader_present) == 0 and max by (job) (rushes_workers) > 0",
        "1m",
        CRITICAL,
        "Workers are alive, but none leads: nothing new is submitted or checked.",
        "processes.md#the-dispatcher-stopped-or-its-leader-froze",
        {"rushes_leader_present": ("1", "0"), "rushes_workers": ("2", "2")},
    ),
    watch(
        "TurnsFail", "rushes_turns_failing_seconds", "> 10", "1m", CRITICAL,
        "Every turn of the dispatcher fails: nothing new is submitted or checked.",
        "processes.md#the-dispatcher-stopped-or-its-leader-froze",
    ),
    watch(
        "Lag", "rushes_oldest_due_row_seconds", "> 60", "2m", WARNING,
        "A step has been due for more than a minute: there are too few workers, or one hangs.",
        "processes.md#a-worker-is-frozen-or-does-nothing",
    ),
    watch(
        "UnconfirmedSubmissions", "rushes_oldest_unconfirmed_seconds", "> 600", "1m", WARNING,
        "A submission has had an unknown outcome for more than ten minutes.",
        "submitting.md#a-submit-answer-is-lost",
    ),
    watch(
        "UndecidedSubmissions", "rushes_oldest_unconfirmed_seconds", "> 86400", "1m", CRITICAL,
        "A submission has had an unknown outcome for more than a day: a person must decide.",
        "submitting.md#an-unconfirmed-submission-that-nobody-can-decide",
    ),
    watch_condition(
        "KeyRejected", "key_rejected", "1m", CRITICAL,
        "The provider rejects the key: nothing is submitted or checked.", "account.md#the-provider-refuses-the-key",
    ),
    watch_condition(
        "NoCredit", "no_credit", "1m", CRITICAL,
        "The account has no credit: nothing is submitted.", "account.md#no-credit",
    ),
    watch_condition(
        "ProviderUnreachable", "provider_unreachable", "2m", CRITICAL,
        "The provider does not answer, or answers only with errors.",
        "account.md#the-provider-is-away-answers-5xx-or-garbage",
    ),
    watch_condition(
        "RateLimited", "rate_limited", "10m", WARNING,
        "The provider has limited the rate for ten minutes.", "account.md#rate-limited-429",
    ),
    watch_condition(
        "Paused", "paused", "1h", WARNING,
        "The account has been paused for an hour: nothing is submitted.", "account.md#the-account-is-paused",
    ),
    watch_condition(
        "SpendingCap", "spending_cap", "5m", WARNING,
        "The daily spending cap is reached: nothing more is submitted today.",
        "account.md#something-stops-the-account",
    ),
    watch(
        "ForeignList", "rushes_foreign_list_predictions", "> 0", "1m", CRITICAL,
        "The key seems to belong to another account: the provider's list shows none of our predictions.",
        "account.md#the-key-of-another-account",
    ),
    watch(
        "OutputOutage", "rushes_output_outage_seconds", "> 60", "1m", WARNING,
        "Every download of a finished render fails.", "storing.md#the-output-host-is-down",
    ),
    watch(
        "StoreUnusable", "rushes_store_unusable", "== 1", "1m", CRITICAL,
        "No worker can store videos: the disk reserve is reached, or the folder is not usable. Nothing is submitted.",
        "storing.md#the-disk-is-full",
    ),
    Alert(
        "RushesDiskFills",
        "min by (job) (predict_linear(rushes_store_free_bytes[1h], 4 * 3600)) < 0",
        "10m",
        WARNING,
        "The space for videos will be used up within four hours.",
        "storing.md#the-disk-is-full",
        {"rushes_store_free_bytes": ("9e9", "9e9-4e7")},
    ),
    watch(
        "StuckRenders", "rushes_stuck_predictions", "> 0", "10m", WARNING,
        "A render has outlived its watch windows: it may never end.",
        "renders.md#a-poll-times-out-a-render-is-stuck",
    ),
    watch(
        "BatchAtRisk", "rushes_batches_at_risk", "> 0", "1m", WARNING,
        "A batch is likely to miss its finish_by.", "renders.md#a-batch-will-miss-its-finish_by",
    ),
    watch(
        "OldTransaction", "rushes_oldest_transaction_seconds", "> 60", "1m", WARNING,
        "A transaction has been open for more than a minute: it holds back the event feed.",
        "processes.md#a-transaction-holds-back-the-event-feed",
    ),
    watch(
        "CallbacksLate", "rushes_oldest_due_delivery_seconds", "> 60", "2m", WARNING,
        "A callback to a working endpoint has been due for more than a minute.", "callbacks.md#callbacks-come-late",
    ),
    watch_growth(
        "Duplicates", "rushes_duplicates_total", 0,
        "A job was paid for twice.", "submitting.md#a-duplicate-purchase",
    ),
    watch_growth(
        "StaleWrites", 'rushes_stale_writes_total{kind="store.finish"}', 10,
        "More than ten writes came too late in an hour: processes freeze, or leases are too short.",
        "processes.md#stale-writes-are-counted",
    ),
)  # fmt: skip


def make_rules() -> Json:
    """The alert rules, as Prometheus loads them."""
    rules = [
        {
            "alert": each.name,
            "expr": each.expression,
            "for": each.wait,
            "labels": {"severity": each.severity},
            "annotations": {"summary": each.summary, "runbook": f"docs/operations/{each.page}"},
        }
        for each in ALERTS
    ]
    return {"groups": [{"name": "rushes", "rules": rules}]}


def make_tests() -> Json:
    """Unit tests for promtool: each alert is quiet while all is well, and fires after a lasting fault."""
    tests = [_make_test(alert) for alert in ALERTS]
    return {"rule_files": [Path(RULES_FILE).name], "evaluation_interval": "1m", "tests": tests}


def _make_test(alert: Alert) -> Json:
    # A metric that is absent has no labels.
    labels = {"severity": alert.severity} | ({} if alert.expression.startswith("absent") else {"job": "rushes"})
    annotations = {"summary": alert.summary, "runbook": f"docs/operations/{alert.page}"}
    # Two processes of the API export the same.
    series = [
        {
            "series": _label(metric, f'job="rushes", instance="{process}"'),
            "values": f"{healthy}x{HEALTHY_MINUTES} {faulty}x{FAULTY_MINUTES}",
        }
        for metric, (healthy, faulty) in alert.series.items()
        for process in ("api-1", "api-2")
    ]
    quiet = {"alertname": alert.name, "eval_time": f"{HEALTHY_MINUTES}m"}
    fires = {"alertname": alert.name, "eval_time": f"{HEALTHY_MINUTES + FAULTY_MINUTES}m"}
    expected = [{"exp_labels": labels, "exp_annotations": annotations}]
    asked = [quiet, {**fires, "exp_alerts": expected}]
    return {"name": alert.name, "interval": "1m", "input_series": series, "alert_rule_test": asked}


def _label(metric: str, labels: str) -> str:
    name, _, others = metric.partition("{")
    return f"{name}{{{labels}, {others}" if others else f"{name}{{{labels}}}"


class Panel(NamedTuple):
    """A graph, or one number. The queries are by their legends."""

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


HERE = '{job="$job"}'


def show(title: str, metric: str, *, unit: str = "short") -> Panel:
    """The latest value of a metric, as a number."""
    return Panel(title, unit, {"": f"max({metric}{HERE})"}, "stat")


def show_latency(title: str, metric: str) -> Panel:
    """Quantiles of a histogram."""
    buckets = f"sum by (le) (max without (instance) (rate({metric}_bucket{HERE}[5m])))"
    quantiles = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}
    return Panel(title, "s", {name: f"histogram_quantile({share}, {buckets})" for name, share in quantiles.items()})


def by(label: str, metric: str) -> dict[str, str]:
    """One line for each value of a label."""
    return {f"{{{{{label}}}}}": f"max by ({label}) ({metric}{HERE})"}


def rate(metric: str, *, seconds: int = 1) -> str:
    """How fast a counter grows, in this many seconds."""
    return f"max(rate({metric}{HERE}[5m]))" + (f" * {seconds}" if seconds > 1 else "")


PANELS = (
    show("Workers", "rushes_workers"),
    show("Leader", "rushes_leader_present"),
    show("Oldest due row", "rushes_oldest_due_row_seconds", unit="s"),
    show("Oldest unconfirmed", "rushes_oldest_unconfirmed_seconds", unit="s"),
    show("Batches at risk", "rushes_batches_at_risk"),
    show("Spent today, if capped", "rushes_spent_today_dollars", unit="currencyUSD"),
    Panel(
        "What stops the account",
        "short",
        {"{{condition}}": f"max by (condition) (rushes_account_condition{HERE}) == 1"},
        "state-timeline",
    ),
    Panel("Backlog", "short", by("state", "rushes_backlog_jobs")),
    Panel("Live predictions", "short", by("state", "rushes_live_predictions")),
    Panel(
        "Slots",
        "short",
        {
            "in use": f"max(rushes_slots_in_use{HERE})",
            "limit": f"max(rushes_slots{HERE})",
            "stuck": f"max(rushes_stuck_predictions{HERE})",
        },
    ),
    Panel("Stored videos in a minute", "short", {"videos": rate("rushes_store_seconds_count", seconds=60)}),
    show_latency("From the POST to the acceptance", "rushes_submit_seconds"),
    show_latency("From the completion to the stored video", "rushes_store_seconds"),
    show_latency("Detection delay, at most", "rushes_detection_delay_seconds"),
    Panel(
        "Dollars in an hour",
        "currencyUSD",
        {
            "spent": rate("rushes_spent_dollars_total", seconds=3600),
            "refunded": rate("rushes_refunded_dollars_total", seconds=3600),
            "for duplicates": rate("rushes_duplicate_dollars_total", seconds=3600),
        },
    ),
    Panel(
        "Dollars held, and today's cap",
        "currencyUSD",
        {
            "held": f"max(rushes_held_dollars{HERE})",
            "spent today": f"max(rushes_spent_today_dollars{HERE})",
            "cap": f"max(rushes_spending_cap_dollars{HERE})",
        },
    ),
    Panel(
        "Requests of checks in a second",
        "reqps",
        {
            "made": rate("rushes_check_requests_total"),
            "budget": f"max(rushes_check_budget_requests_per_second{HERE})",
        },
    ),
    Panel(
        "Provider and output host",
        "short",
        {
            "failures in a row": f"max(rushes_provider_failures{HERE})",
            "outage of the output host (s)": f"max(rushes_output_outage_seconds{HERE})",
        },
    ),
    Panel("Free space for videos", "bytes", {"free": f"max(rushes_store_free_bytes{HERE})"}),
    Panel("Stored bytes in a second", "Bps", {"stored": rate("rushes_stored_bytes_total")}),
    Panel("Stale writes and duplicates in an hour", "short", {
        "{{kind}}": f"max by (kind) (increase(rushes_stale_writes_total{HERE}[1h]))",
        "duplicates": f"max(increase(rushes_duplicates_total{HERE}[1h]))",
    }),
    Panel("Callbacks", "short", {
        "pending": f"max(rushes_pending_deliveries{HERE})",
        "{{state}} endpoints": f"max by (state) (rushes_endpoints{HERE})",
    }),
    Panel("Oldest transaction", "s", {"open for": f"max(rushes_oldest_transaction_seconds{HERE})"}),
)  # fmt: skip
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NUMBER_SIZE, GRAPH_SIZE, WIDTH = (4, 4), (8, 7), 24


def make_dashboard() -> Json:
    """The dashboard, as Grafana imports it."""
    job = {
        "name": "job",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(rushes_workers, job)",
        "refresh": 2,
    }
    return {
        "uid": "rushes",
        "title": "Rushes",
        "schemaVersion": 39,
        "tags": ["rushes"],
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}, job]},
        "panels": _place_panels(),
    }


def _place_panels() -> list[Json]:
    """Panels from left to right, row by row."""
    placed, left, top, lowest = [], 0, 0, 0
    for number, panel in enumerate(PANELS, start=1):
        width, height = NUMBER_SIZE if panel.kind == "stat" else GRAPH_SIZE
        if left + width > WIDTH:
            left, top = 0, lowest
        grid = {"x": left, "y": top, "w": width, "h": height}
        left, lowest = left + width, top + height
        targets = [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for place, (legend, query) in enumerate(panel.queries.items())
        ]
        described = {"id": number, "type": panel.kind, "title": panel.title, "gridPos": grid, "datasource": SOURCE}
        units = {"fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []}}
        placed.append({**described, **units, "targets": targets})
    return placed


def write_all(folder: Path) -> None:
    """Write every file below this folder."""
    written = {
        RULES_FILE: NOTE + _spell(make_rules()),
        TESTS_FILE: NOTE + _spell(make_tests()),
        "grafana/rushes.json": _spell_panels(make_dashboard()),
    }
    for name, text in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def _spell(document: Json) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=120, default_flow_style=None)


def _spell_panels(dashboard: Json) -> str:
    """JSON with one line for each panel, so that a change is easy to read."""
    panels = ",\n  ".join(json.dumps(each) for each in dashboard["panels"])
    return json.dumps({**dashboard, "panels": []}, indent=1)[: -len("]\n}")] + f"\n  {panels}\n ]\n}}\n"


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent)
