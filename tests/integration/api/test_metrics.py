"""`GET /metrics` over HTTP: who may read it, in which format, and what it answers while the database is away."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.routes import health
from models import Scope
from models.db.session import transaction
from models.db.shared_reads import SharedRead
from tests.support.access import KEY, add_key, bearing
from tests.support.api_server import Api


def test_metrics_are_text_for_prometheus(api: Api) -> None:
    api.push()
    answer = api.client.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert values["rushes_backlog_jobs", "queued"] == 1
    assert KEY not in answer.text


def test_only_who_may_observe_reads_metrics(api: Api) -> None:
    with transaction(api.sessions) as session:
        keys = {scope: add_key(session, scope) for scope in Scope}
    statuses = {scope: api.client.get("/metrics", headers=bearing(key)).status_code for scope, key in keys.items()}
    assert {scope for scope, status in statuses.items() if status == 200} == {Scope.OBSERVE, Scope.OPERATE}
    assert set(statuses.values()) == {200, 403}
    assert api.client.get("/metrics", headers={"Authorization": ""}).status_code == 401


def test_metrics_answer_503_if_the_database_takes_too_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "METRICS_SECONDS", 0.05)
    answered = threading.Event()

    def read() -> bytes:
        assert answered.wait(60)
        return b""

    api.app.state.metrics = SharedRead(read, name="test")
    late = api.client.get("/metrics")
    answered.set()
    assert (late.status_code, late.headers["retry-after"]) == (503, "2")
    assert late.json()["detail"] == "the database did not answer in time"
