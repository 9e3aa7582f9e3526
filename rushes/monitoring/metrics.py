"""The metrics for Prometheus, read from rows: every process answers the same, and no restart resets a counter.

`SOURCES` lists what is exported. A new group of metrics is one more function there.
"""

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from models import queries
from models.db.session import Sessions, transaction
from models.db.shared_reads import SharedRead
from models.queries.accounts.status import find_account_facts
from models.tables.statistics import LATENCY_BOUNDS, Latency
from rushes.account_status import ACCOUNT, Condition, judge_account

KEPT_SECONDS = 5.0
"""A process reads the rows at most this often."""

Number = float | Decimal | None
Source = Callable[[Session], Iterable[Metric]]


def _gauge(name: str, meaning: str, value: Number) -> GaugeMetricFamily:
    """One value; without a sample if the value is unknown."""
    return GaugeMetricFamily(f"rushes_{name}", meaning, None if value is None else float(value))


def _gauges(name: str, meaning: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"rushes_{name}", meaning, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _counter(name: str, meaning: str, value: Number) -> CounterMetricFamily:
    return CounterMetricFamily(f"rushes_{name}", meaning, None if value is None else float(value))


def read_queue(session: Session) -> Iterator[Metric]:
    """The backlog, the slots, and what is late."""
    farm = queries.health.find_farm(session)
    waiting = {"queued": farm.queued, "storing": farm.storing}
    yield _gauges("backlog_jobs", "Jobs that wait for a slot, or for their video to be stored.", "state", waiting)
    live = {"rendering": farm.rendering, "unconfirmed": farm.unconfirmed}
    live["submitting"] = farm.live - farm.rendering - farm.unconfirmed
    yield _gauges("live_predictions", "Predictions without an outcome.", "state", live)
    yield _gauge("slots_in_use", "Slots that live predictions hold.", farm.in_use)
    yield _gauge("slots", "Renders that the provider runs at once, as configured or learned from it.", farm.slots)
    yield _gauge(
        "stuck_predictions", "Live predictions that gave their slot back because they last too long.", farm.stuck
    )
    lag = max(0.0, farm.lag_seconds)
    yield _gauge("oldest_due_row_seconds", "Age of the oldest due row: how late the most overdue step is.", lag)
    yield _counter(
        "duplicates", "Predictions that were paid for in addition to another of the same job.", farm.duplicates
    )


def read_health(session: Session) -> Iterator[Metric]:
    """The workers, their leader, and what needs a person."""
    health = queries.health.find_health(session)
    yield _gauge("workers", "Worker processes seen in the last 15 seconds.", health.workers)
    yield _gauge("leader_present", "1 if a worker leads, else 0.", health.leader is not None)
    failing = health.turns_failing_seconds or 0
    yield _gauge("turns_failing_seconds", "Time for which every turn of the dispatcher has failed.", failing)
    age = health.oldest_unconfirmed_seconds or 0
    yield _gauge("oldest_unconfirmed_seconds", "Time since the oldest unconfirmed submission was posted.", age)
    meaning = "Predictions left undecided because the list of the provider seems to be that of another account."
    yield _gauge("foreign_list_predictions", meaning, health.foreign)
    yield _gauge("batches_at_risk", "Open batches that are likely to miss their finish_by.", health.batches_at_risk)


def read_account(session: Session) -> Iterator[Metric]:
    """Whether the account renders, and why not."""
    facts = find_account_facts(session, ACCOUNT)
    status = judge_account(facts) if facts else None
    conditions = {each.value: int(each is status.condition) for each in Condition} if status else {}
    meaning = "1 for the condition of the account: ok, or what stops it."
    yield _gauges("account_condition", meaning, "condition", conditions)
    failures = facts and facts.provider_failures
    yield _gauge("provider_failures", "Requests to the provider in a row without a usable answer.", failures)
    cap, spent = (facts.most_today, facts.spent_today) if facts else (None, None)
    yield _gauge("spending_cap_dollars", "Dollars that may be held and spent in a day of UTC, if capped.", cap)
    yield _gauge("spent_today_dollars", "Dollars held and spent for predictions of this day of UTC, if capped.", spent)


def read_totals(session: Session) -> Iterator[Metric]:
    """Money, stored files, and the requests of checks."""
    found = queries.totals.find_totals(session, ACCOUNT)

    def take(name: str) -> Number:
        value: Number = getattr(found, name, None)
        return value

    yield _gauge("held_dollars", "Dollars for predictions without an outcome.", take("held"))
    yield _counter("spent_dollars", "Dollars for predictions that ended as paid.", take("spent"))
    yield _counter("refunded_dollars", "Dollars for predictions that failed and were refunded.", take("refunded"))
    yield _counter("duplicate_dollars", "The part of the spent dollars that paid for duplicates.", take("duplicate"))
    yield _counter("stored_files", "Videos and posters stored so far, removed ones too.", take("files"))
    yield _counter("stored_bytes", "Bytes of these files.", take("bytes"))
    yield _counter("check_requests", "Requests to the provider for the status of renders.", take("check_requests"))
    budget = take("check_budget")
    yield _gauge("check_budget_requests_per_second", "Requests that checks may make in a second.", budget)
    yield _gauge(
        "check_requests_owed", "Requests of checks beyond the budget, not yet paid back.", take("requests_owed")
    )
    yield _gauge("check_price_seconds", "Seconds of delay that a request of a check is worth.", take("check_price"))


def read_storing(session: Session) -> Iterator[Metric]:
    """The output host, and the room for videos."""
    outage, store = queries.storing.find_output_outage(session), queries.storing.find_store_state(session)
    meaning = "Time for which every download from the output host has failed."
    yield _gauge("output_outage_seconds", meaning, outage.seconds if outage else 0)
    yield _gauge("store_unusable", "1 if no store worker can store another video, else 0.", store.problem is not None)
    yield _gauge("store_free_bytes", "Free space for videos, as a store worker reports it.", store.free_bytes)


def read_database(session: Session) -> Iterator[Metric]:
    """Signs of frozen processes."""
    meaning = "Writes that changed nothing because they came too late, by step and write."
    stale = CounterMetricFamily("rushes_stale_writes", meaning, labels=["kind"])
    for kind, count in queries.totals.count_stale_writes(session).items():
        stale.add_metric([kind], count)
    yield stale
    oldest = queries.totals.measure_oldest_transaction(session)
    yield _gauge("oldest_transaction_seconds", "Age of the oldest open transaction of any other session.", oldest)


def read_callbacks(session: Session) -> Iterator[Metric]:
    """The endpoints, and what waits for them."""
    found = queries.totals.count_callbacks(session)
    yield _gauge("pending_deliveries", "Callbacks that are not delivered yet.", found.pending)
    meaning = "Age of the oldest due callback to an endpoint that does not fail: how late we are."
    yield _gauge("oldest_due_delivery_seconds", meaning, found.oldest_due_seconds)
    states = {"working": found.working, "failing": found.failing, "disabled": found.disabled}
    yield _gauges("endpoints", "Endpoints for callbacks.", "state", states)


_LATENCIES = {
    Latency.SUBMIT: ("submit_seconds", "Time from the POST of a prediction to its acceptance."),
    Latency.STORE: ("store_seconds", "Time from the known completion of a prediction to its stored video."),
    Latency.DETECTION: ("detection_delay_seconds", "Time from the end of a render until it was known, at most."),
}


def read_latencies(session: Session) -> Iterator[Metric]:
    """Histograms of predictions whose outcome and video can no longer change."""
    found = queries.totals.list_latencies(session)
    for kind, (name, meaning) in _LATENCIES.items():
        counts = {each.at_most: each.predictions for each in found if each.kind == kind}
        sums = accumulate(counts.get(bound, 0) for bound in LATENCY_BOUNDS)
        names = ("+Inf" if bound == float("inf") else str(bound) for bound in LATENCY_BOUNDS)
        seconds = sum(each.seconds for each in found if each.kind == kind)
        yield HistogramMetricFamily(f"rushes_{name}", meaning, list(zip(names, sums, strict=True)), seconds)


SOURCES: tuple[Source, ...] = (
    read_queue,
    read_health,
    read_account,
    read_totals,
    read_storing,
    read_database,
    read_callbacks,
    read_latencies,
)
"""Each is called for every read, in one transaction."""


class _Rows(Collector):
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def describe(self) -> Iterable[Metric]:
        return ()  # so that registering reads nothing

    def collect(self) -> Iterator[Metric]:
        with transaction(self._sessions) as session:
            for read in SOURCES:
                yield from read(session)


def open_metrics(sessions: Sessions) -> SharedRead[bytes]:
    """Return the metrics in Prometheus' text format, read at most every five seconds. Raises `DatabaseAway`."""
    registry = CollectorRegistry()
    registry.register(_Rows(sessions))
    return SharedRead(lambda: generate_latest(registry), name="rushes-metrics", keep_seconds=KEPT_SECONDS)
