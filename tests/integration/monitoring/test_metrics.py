"""The metrics: what they say is in the rows, what is documented is exported, and what alerts and graphs use exists."""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import promql_parser
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import null
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, Delivery, queries, transitions
from models.db.session import Sessions, transaction
from models.transitions.leadership import lead, see_worker
from rushes.account_status import Condition
from rushes.monitoring.metrics import open_metrics
from tests.support import rows
from tests.support.promtool import run_promtool
from tests.support.rows import DAY, HOUR, MINUTE, NOW, SECOND
from tests.unit.test_dashboards import DASHBOARD, RULES
from tests.unit.test_docs import ROOT, rows_of

STATES = {"queued", "storing", "submitting", "unconfirmed", "rendering", "working", "failing", "disabled"}
LABELS = {"state": STATES, "condition": set(Condition)}
"""Every label, and the values that it may have; `le` is the bound of a bucket."""
LONG_AGO = -20 * DAY


class Reading(NamedTuple):
    """What one scrape got."""

    text: bytes
    families: list[Metric]

    def find(self, name: str, **labels: str) -> float:
        """The value of one sample."""
        samples = [each for family in self.families for each in family.samples if each.name == f"rushes_{name}"]
        (value,) = [each.value for each in samples if each.labels == labels]
        return float(value)

    def find_all(self, name: str) -> list[float]:
        """The values of one name, whatever their labels."""
        return [each.value for family in self.families for each in family.samples if each.name == f"rushes_{name}"]


def read(sessions: Sessions) -> Reading:
    text = open_metrics(sessions).wait(seconds=60)
    return Reading(text, list(text_string_to_metric_families(text.decode())))


@pytest.fixture
def busy(scratch: Session) -> Session:
    """A farm with something of everything."""
    account = rows.add_account(
        scratch, name="default", slots=3, max_spend_per_day="100", check_budget=5, check_requests=40, check_price=0.5
    )
    rows.add_job(scratch)
    rows.add_render(scratch, "completed", account_id=account, ended_at=-MINUTE)
    rows.add_render(scratch, "submitting", account_id=account)
    rows.add_render(scratch, "unconfirmed", account_id=account, posted_at=-HOUR)
    rows.add_render(scratch, "rendering", account_id=account, watch_windows=3)
    rows.add_render(scratch, "rendering", account_id=account, due_at=-90 * SECOND)
    rows.add_render(scratch, "failed", account_id=account)
    rows.add_render(scratch, "completed", account_id=account, is_duplicate=True)
    see_worker(scratch, "worker-1", queues=["submit"], threads=4)
    see_worker(scratch, "worker-2", queues=["store"], threads=4)
    rows.change(scratch, "worker", store_free_bytes=7_000)
    lead(scratch, "worker-1", lease=MINUTE)
    for _ in range(2):
        transitions.stale_writes.count_stale_write(scratch, "store.finish")
    return scratch


def test_the_values_are_those_of_the_rows(busy: Session) -> None:
    seen = read(busy)
    backlog = {state: seen.find("backlog_jobs", state=state) for state in ("queued", "storing")}
    assert backlog == {"queued": 2, "storing": 1}  # a duplicate's job is queued
    live = {state: seen.find("live_predictions", state=state) for state in ("submitting", "unconfirmed", "rendering")}
    assert live == {"submitting": 1, "unconfirmed": 1, "rendering": 2}
    assert (seen.find("slots_in_use"), seen.find("slots"), seen.find("stuck_predictions")) == (3, 3, 1)
    assert 90 <= seen.find("oldest_due_row_seconds") < 200
    assert 3600 <= seen.find("oldest_unconfirmed_seconds") < 3700
    assert (seen.find("workers"), seen.find("leader_present"), seen.find("turns_failing_seconds")) == (2, 1, 0)
    assert seen.find("stale_writes_total", kind="store.finish") == 2
    assert (seen.find("store_free_bytes"), seen.find("store_unusable")) == (7_000, 0)
    checks = ("check_requests_total", "check_budget_requests_per_second", "check_price_seconds", "check_requests_owed")
    assert [seen.find(name) for name in checks] == [40, 5, 0.5, 0]
    assert seen.find("spending_cap_dollars") == 100


def test_the_money_is_that_of_the_account(busy: Session) -> None:
    names = ("held_dollars", "spent_dollars_total", "refunded_dollars_total", "duplicate_dollars_total")
    expected = pytest.approx([4 * 0.36, 2 * 0.36, 0.36, 0.36])
    assert [read(busy).find(name) for name in names] == expected
    assert read(busy).find("spent_today_dollars") == pytest.approx(6 * 0.36)
    assert read(busy).find("duplicates_total") == 1
    transitions.pruning.count_ended(busy, count=10)
    assert [read(busy).find(name) for name in names] == expected


@pytest.mark.parametrize(
    ("columns", "condition"),
    [
        ({}, "ok"),
        ({"paused_at": NOW, "paused_reason": "person"}, "paused"),
        ({"back_offs": 1, "back_off_reason": "credit", "back_off_until": MINUTE}, "no_credit"),
        ({"back_offs": 1, "back_off_reason": "key", "back_off_until": MINUTE}, "key_rejected"),
        ({"provider_failures": 3, "provider_failing_since": -MINUTE}, "provider_unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_condition_of_the_account_is_a_label(scratch: Session, columns: dict[str, Any], condition: str) -> None:
    rows.add_account(scratch, name="default", **columns)
    seen = read(scratch)
    shown = {each.value: seen.find("account_condition", condition=each.value) for each in Condition}
    assert shown == {each.value: float(each.value == condition) for each in Condition}


def test_an_outage_and_a_full_disk_are_exported(busy: Session) -> None:
    assert read(busy).find("output_outage_seconds") == 0
    rows.change(busy, "account", outputs_failing_since=-MINUTE, outputs_probe_at=NOW)
    rows.change(busy, "worker", store_problem="the disk is full")
    assert 60 <= read(busy).find("output_outage_seconds") < 200
    assert read(busy).find("store_unusable") == 1


def test_callbacks_that_wait_and_their_endpoints_are_counted(scratch: Session) -> None:
    late: dict[str, dict[str, Any]] = {
        "working": {},
        "failing": {"failures": 2, "failing_since": -MINUTE},
        "disabled": {"disabled_at": NOW, "disabled_reason": "person"},
    }
    for minutes, columns in enumerate(late.values(), start=1):
        known = {"tenant_id": DEFAULT_TENANT, "url": "https://acme.example", "kinds": ["job.*"], "secret": "whsec_x"}
        endpoint = rows.insert(scratch, "endpoint", **known, after=0, **columns)
        due_at = queries.health.read_clock(scratch) - minutes * MINUTE
        for state, times in (("pending", {"due_at": due_at}), ("delivered", {"due_at": null(), "ended_at": due_at})):
            about = {"webhook_id": f"msg_{minutes}_{state}", "kind": "job.failed", "give_up_at": due_at + DAY}
            scratch.add(Delivery(endpoint_id=endpoint, state=state, **about, **times))
        scratch.flush()
    seen = read(scratch)
    assert {state: seen.find("endpoints", state=state) for state in late} == dict.fromkeys(late, 1)
    assert seen.find("pending_deliveries") == 3
    assert 55 <= seen.find("oldest_due_delivery_seconds") < 110
    rows.change(scratch, "tenant", DEFAULT_TENANT, disabled_at=NOW)
    assert read(scratch).find("oldest_due_delivery_seconds") == 0


def test_a_transaction_of_another_session_is_measured(sessions: Sessions) -> None:
    assert read(sessions).find("oldest_transaction_seconds") >= 0
    with transaction(sessions) as session:
        began = rows.count(session, "job")
        before = read(sessions).find("oldest_transaction_seconds")
        assert began == 0
        assert before > 0
        assert read(sessions).find("oldest_transaction_seconds") > before


def add_measured(session: Session, account: UUID, **columns: Any) -> UUID:
    """A job that ended long ago: accepted after 0.2 s, its end known at most 4 s late, stored 40 s later."""
    job = rows.add_job(session, "succeeded", ended_at=LONG_AGO)
    times = {
        "posted_at": LONG_AGO,
        "accepted_at": LONG_AGO + timedelta(seconds=0.2),
        "execution_seconds": 50.0,
        "seen_running_at": LONG_AGO + timedelta(seconds=56.2),
        "ended_at": LONG_AGO + timedelta(seconds=60.2),
    }
    prediction = rows.add_prediction(session, job, account, "completed", **times | columns)
    stored_at = LONG_AGO + timedelta(seconds=100.2)
    rows.add_artifact(session, job, prediction, bytes=1000, created_at=stored_at, removed_at=NOW, url=None)
    poster = {"kind": "poster", "bytes": 10, "created_at": stored_at}
    rows.add_artifact(session, job, prediction, **poster, removed_at=NOW, url=None)
    return job


def list_latencies(seen: Reading) -> dict[str, tuple[float, float, dict[str, float]]]:
    """Count, sum, and the non-empty buckets that are not cumulative, of each histogram."""
    found = {}
    for name in ("submit_seconds", "store_seconds", "detection_delay_seconds"):
        (family,) = [each for each in seen.families if each.name == f"rushes_{name}"]
        cumulative = {each.labels["le"]: each.value for each in family.samples if each.name.endswith("_bucket")}
        bounds = list(cumulative)
        own = {le: cumulative[le] - (cumulative[bounds[i - 1]] if i else 0) for i, le in enumerate(bounds)}
        found[name] = (
            seen.find(f"{name}_count"),
            round(seen.find(f"{name}_sum"), 3),
            {le: value for le, value in own.items() if value},
        )
    return found


def test_latencies_and_files_survive_pruning_and_are_measured_once(scratch: Session) -> None:
    account = rows.add_account(scratch, name="default")
    for _ in range(2):
        add_measured(scratch, account)
    expected = {
        "submit_seconds": (2, 0.4, {"0.25": 2}),
        "store_seconds": (2, 80, {"60.0": 2}),
        "detection_delay_seconds": (2, 8, {"5.0": 2}),
    }
    nothing = {name: (0, 0, {}) for name in expected}
    assert list_latencies(read(scratch)) == nothing
    assert transitions.pruning.count_ended(scratch, count=1) == 1
    assert list_latencies(read(scratch))["submit_seconds"] == (1, 0.2, {"0.25": 1})
    removed = transitions.pruning.remove_jobs(scratch, older_than=DAY, count=10)  # one is counted, one is not
    assert removed is not None
    assert removed.predictions == 2
    seen = read(scratch)
    assert list_latencies(seen) == expected
    assert (seen.find("stored_files_total"), seen.find("stored_bytes_total")) == (4, 2020)


@pytest.mark.parametrize(
    ("columns", "measured"),
    [
        ({"adopted_at": NOW}, {"store_seconds"}),
        ({"is_duplicate": True}, {"store_seconds"}),
        ({"seen_running_at": None, "execution_seconds": None}, {"submit_seconds", "store_seconds"}),
        ({"seen_running_at": None}, {"submit_seconds", "store_seconds", "detection_delay_seconds"}),
        ({"posted_at": None}, {"store_seconds", "detection_delay_seconds"}),
    ],
    ids=["adopted", "duplicate", "never seen running", "duration known", "no POST"],
)
def test_only_what_is_known_is_measured(scratch: Session, columns: dict[str, Any], measured: set[str]) -> None:
    add_measured(scratch, rows.add_account(scratch, name="default"), **columns)
    transitions.pruning.count_ended(scratch, count=10)
    assert {name for name, (count, _, _) in list_latencies(read(scratch)).items() if count} == measured


def test_a_failed_render_has_only_a_submit_latency(scratch: Session) -> None:
    job = rows.add_job(scratch, "failed")
    account = rows.add_account(scratch, name="default")
    rows.add_prediction(scratch, job, account, "failed", posted_at=-HOUR, accepted_at=NOW, seen_running_at=NOW)
    transitions.pruning.count_ended(scratch, count=10)
    latencies = list_latencies(read(scratch))
    assert latencies["submit_seconds"] == (1, 3600, {"+Inf": 1})
    assert latencies["store_seconds"][0] == latencies["detection_delay_seconds"][0] == 0


def test_every_name_is_exported_before_there_is_an_account(scratch: Session, request: pytest.FixtureRequest) -> None:
    empty = {family.name: family.type for family in read(scratch).families}
    busy = request.getfixturevalue("busy")
    assert empty == {family.name: family.type for family in read(busy).families}


def test_a_label_has_only_values_that_the_code_knows(busy: Session) -> None:
    for family in read(busy).families:
        for sample in family.samples:
            for label, value in sample.labels.items():
                if label == "kind":
                    assert re.fullmatch(r"[a-z]+\.[a-z_]+", value)
                elif label != "le":
                    assert value in LABELS[label]


def test_prometheus_accepts_the_metrics(busy: Session) -> None:
    run_promtool("check", "metrics", given=read(busy).text)


def list_documented() -> Iterable[list[str]]:
    section = (ROOT / "docs" / "operations.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    return [[cell.strip("`") for cell in row] for row in rows_of(section) if row[0].startswith("`rushes_")]


def test_every_metric_is_documented_with_its_type_and_meaning(scratch: Session) -> None:
    exported = []
    for family in read(scratch).families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(["rushes_backlog_jobs", "rushes_live_predictions", "rushes_endpoints"], "state")
        labels |= {"rushes_account_condition": "condition", "rushes_stale_writes_total": "kind"}
        exported.append([name, family.type, labels.get(name, ""), family.documentation])
    assert list(list_documented()) == exported


EXPRESSIONS = [rule["expr"] for rule in RULES]
EXPRESSIONS += [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def list_selectors(expression: Any) -> Iterable[Any]:
    """Every selector of a parsed expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for part in ("expr", "lhs", "rhs", "vs", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from list_selectors(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from list_selectors(argument)


def test_alerts_and_graphs_use_only_exported_metrics(scratch: Session) -> None:
    exported = {each.name for family in read(scratch).families for each in family.samples}
    exported |= {row[0] for row in list_documented()}
    used = set()
    for expression in EXPRESSIONS:
        selectors = list(list_selectors(promql_parser.parse(expression)))
        named = set(re.findall(r"rushes_\w+", expression))
        assert {each.name for each in selectors} == named, expression
        used |= named
        conditions = re.findall(r'condition="(\w+)"', expression)
        assert set(conditions) <= set(Condition)
    assert used <= exported
    unused = {row[0] for row in list_documented()} - {re.sub("_(bucket|count|sum)$", "", name) for name in used}
    assert unused <= {"rushes_stored_files_total", "rushes_check_requests_owed", "rushes_check_price_seconds"}
