"""Which deliveries are created and claimed: once, in the order of their jobs, and without delaying other endpoints."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, Delivery, Endpoint, transitions
from models.db.session import transaction
from models.queries.callbacks.wanted_events import WantedEvent
from models.transitions.callbacks.deliveries import AT_ONCE, BROKEN_AFTER
from rushes.callbacks.creating import create_deliveries
from rushes.callbacks.deliveries import resend_delivery
from rushes.callbacks.endpoints import delete_endpoint, switch_endpoint
from rushes.callbacks.endpoints import test_endpoint as send_test
from rushes.events.horizon import Horizon
from rushes.jobs.pruning import Keep, prune
from rushes.runtime import Runtime
from tests.support import rows
from tests.support.access import EVERYONE, add_tenant
from tests.support.callbacks import add_endpoint, add_events, claim, create_all, list_deliveries, make_due

URL = "https://receiver.example/hook"
THREADS = 16


def claim_kinds(runtime: Runtime, *, threads: int = THREADS) -> list[str]:
    """The kinds of what is claimed, in the order of creation."""
    claimed = {each.id for each in claim(runtime.sessions, threads=threads)}
    return [each.kind for each in list_deliveries(runtime.sessions) if each.id in claimed]


def set_delivered(runtime: Runtime, kind: str) -> None:
    with transaction(runtime.sessions) as session:
        rows.change(
            session,
            "delivery",
            Delivery.kind == kind,
            state="delivered",
            due_at=None,
            claimed_at=None,
            ended_at=rows.NOW,
        )


def count_claims(runtime: Runtime, *, threads: int = THREADS) -> Counter[UUID]:
    """How many deliveries each endpoint has under way after a claim."""
    claim(runtime.sessions, threads=threads)
    with transaction(runtime.sessions) as session:
        return Counter(session.scalars(select(Delivery.endpoint_id).where(Delivery.claimed_at.is_not(None))))


def suspect(runtime: Runtime, *endpoints: UUID, until: timedelta = rows.MINUTE) -> None:
    """Let these endpoints be suspected until then."""
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", Endpoint.id.in_(endpoints), suspect_until=until)


def trust(runtime: Runtime, *endpoints: UUID) -> None:
    """Let these endpoints have had a success, and no failure for a while."""
    suspect(runtime, *endpoints, until=-rows.SECOND)


def test_an_endpoint_gets_the_kinds_of_its_tenant_from_its_creation_on(runtime: Runtime) -> None:
    add_events(runtime, "job.succeeded")
    endings, every = add_endpoint(runtime, URL).row, add_endpoint(runtime, URL, "job.*", "batch.at_risk").row
    with transaction(runtime.sessions) as session:
        foreign = rows.add_job(session, "succeeded", tenant_id=add_tenant(session, "acme"))
    add_events(runtime, "job.succeeded", job_id=foreign)
    add_events(runtime, "job.pushed", "prediction.created", "job.failed")
    create_all(runtime)
    found = [(each.endpoint_id, each.kind) for each in list_deliveries(runtime.sessions)]
    assert Counter(found) == Counter([(endings.id, "job.failed"), (every.id, "job.pushed"), (every.id, "job.failed")])


def test_an_event_of_a_batch_is_delivered(runtime: Runtime) -> None:
    add_endpoint(runtime, URL, "batch.*")
    with transaction(runtime.sessions) as session:
        batch_id = rows.insert(session, "batch", name="pilot", job_count=1)
        rows.add_event(session, "batch.deleted", batch_id=batch_id)
    create_all(runtime)
    assert [each.kind for each in list_deliveries(runtime.sessions)] == ["batch.deleted"]


def test_an_event_of_an_open_transaction_is_delivered_later(runtime: Runtime) -> None:
    add_endpoint(runtime, URL, "job.*")
    horizon = Horizon(runtime.sessions)
    with Session(runtime.engine) as slow:
        job_id = rows.add_job(slow)
        rows.add_event(slow, "job.pushed", job_id=job_id)
        add_events(runtime, "job.succeeded")
        create_deliveries(runtime, horizon)
        assert list_deliveries(runtime.sessions) == []
        slow.commit()
    create_all(runtime, horizon)
    assert [each.kind for each in list_deliveries(runtime.sessions)] == ["job.pushed", "job.succeeded"]


def test_two_leaders_create_and_claim_each_delivery_once(runtime: Runtime) -> None:
    add_endpoint(runtime, URL, "job.*")
    claimed: list[int] = []
    is_over = threading.Event()

    def lead() -> None:
        horizon = Horizon(runtime.sessions)
        while not is_over.is_set():
            create_deliveries(runtime, horizon)
            claimed.extend(each.id for each in claim(runtime.sessions, count=1_000, threads=1_000))

    with ThreadPoolExecutor(2) as pool:
        leaders = [pool.submit(lead) for _ in range(2)]
        for _ in range(40):
            add_events(runtime, "job.succeeded")
        create_all(runtime)
        is_over.set()
        for each in leaders:
            each.result()
    claimed.extend(each.id for each in claim(runtime.sessions))
    events = Counter(each.event_id for each in list_deliveries(runtime.sessions))
    assert (len(events), set(events.values())) == (40, {1})
    assert max(Counter(claimed).values()) == 1


def test_a_second_leader_with_an_old_position_creates_nothing(runtime: Runtime) -> None:
    add_endpoint(runtime, URL)
    add_events(runtime, "job.failed")
    create_all(runtime)
    (first,) = list_deliveries(runtime.sessions)
    wanted = WantedEvent(first.endpoint_id, first.event_id or 0, first.job_id, first.kind)
    with transaction(runtime.sessions) as session:
        again = transitions.deliveries.create_deliveries(
            session, [wanted], last_id=0, until=first.event_id or 0, give_up=rows.DAY
        )
    assert (again, len(list_deliveries(runtime.sessions))) == (0, 1)


def test_deliveries_of_a_job_wait_for_the_earlier_ones(runtime: Runtime) -> None:
    trust(runtime, add_endpoint(runtime, URL, "job.*").row.id)
    add_events(runtime, "job.queued", "job.storing", "job.succeeded")
    add_events(runtime, "job.pushed")
    create_all(runtime)
    assert claim_kinds(runtime) == ["job.queued", "job.pushed"]
    assert claim_kinds(runtime) == []
    set_delivered(runtime, "job.queued")
    assert claim_kinds(runtime) == ["job.storing"]
    make_due(runtime)
    assert "job.succeeded" not in claim_kinds(runtime)


def test_an_endpoint_gets_a_few_at_once_and_a_broken_one_a_single_one(runtime: Runtime) -> None:
    good, broken, new = (add_endpoint(runtime, URL).row.id for _ in range(3))
    trust(runtime, good, broken)
    for _ in range(10):
        add_events(runtime, "job.failed")
    create_all(runtime)
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", broken, failures=BROKEN_AFTER, failing_since=-rows.MINUTE)
    assert count_claims(runtime) == {good: AT_ONCE, broken: 1, new: 1}
    assert count_claims(runtime) == {good: AT_ONCE, broken: 1, new: 1}


def test_a_held_endpoint_gets_nothing_until_then(runtime: Runtime) -> None:
    endpoint = add_endpoint(runtime, URL).row.id
    add_events(runtime, "job.failed")
    create_all(runtime)
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", endpoint, held_until=rows.MINUTE)
    assert count_claims(runtime) == {}
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", endpoint, held_until=-rows.SECOND)
    assert count_claims(runtime) == {endpoint: 1}


def test_endpoints_that_fail_leave_half_of_the_threads_to_others(runtime: Runtime) -> None:
    endpoints = [add_endpoint(runtime, f"{URL}/{number}").row.id for number in range(12)]
    for _ in range(AT_ONCE):
        add_events(runtime, "job.failed")
    create_all(runtime)
    suspect(runtime, *endpoints)
    suspects = count_claims(runtime)
    assert suspects.total() == THREADS / 2
    assert max(suspects.values()) == 1
    trust(runtime, endpoints[-1])
    assert count_claims(runtime)[endpoints[-1]] == AT_ONCE
    trust(runtime, *endpoints[:-1])
    assert count_claims(runtime).total() == THREADS


def test_an_endpoint_that_hangs_is_suspected_at_once(runtime: Runtime) -> None:
    slow, quick = add_endpoint(runtime, URL).row.id, add_endpoint(runtime, URL).row.id
    for _ in range(10):
        add_events(runtime, "job.failed")
    create_all(runtime)
    trust(runtime, slow, quick)
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", quick, held_until=rows.MINUTE)
    assert count_claims(runtime, threads=2) == {slow: 2}
    with transaction(runtime.sessions) as session:
        rows.change(session, "delivery", Delivery.claimed_at.is_not(None), claimed_at=-3 * rows.SECOND)
        rows.change(session, "endpoint", quick, held_until=None)
    assert count_claims(runtime, threads=4) == {slow: 2, quick: 2}


def test_a_disabled_endpoint_keeps_what_is_pending_and_gets_no_more(runtime: Runtime) -> None:
    endpoint = add_endpoint(runtime, URL).row.id
    add_endpoint(runtime, URL, "batch.*")
    add_events(runtime, "job.failed")
    create_all(runtime)
    switch_endpoint(runtime.sessions, endpoint, is_enabled=False, caller=EVERYONE)
    add_events(runtime, "job.succeeded")
    create_all(runtime)
    assert claim_kinds(runtime) == []
    switch_endpoint(runtime.sessions, endpoint, is_enabled=True, caller=EVERYONE)
    add_events(runtime, "job.cancelled")
    create_all(runtime)
    trust(runtime, endpoint)
    assert claim_kinds(runtime) == ["job.failed", "job.cancelled"]


def test_the_endpoints_of_a_disabled_tenant_get_nothing(runtime: Runtime) -> None:
    add_endpoint(runtime, URL)
    add_events(runtime, "job.failed")
    create_all(runtime)
    with transaction(runtime.sessions) as session:
        rows.change(session, "tenant", DEFAULT_TENANT, disabled_at=rows.NOW)
    assert claim_kinds(runtime) == []
    with transaction(runtime.sessions) as session:
        rows.change(session, "tenant", DEFAULT_TENANT, disabled_at=None)
    assert claim_kinds(runtime) == ["job.failed"]


def test_a_test_and_a_resend_go_first_and_are_not_held(runtime: Runtime) -> None:
    endpoint = add_endpoint(runtime, URL).row.id
    add_events(runtime, "job.failed")
    add_events(runtime, "job.cancelled")
    create_all(runtime)
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", endpoint, held_until=rows.MINUTE)
    send_test(runtime.sessions, runtime.settings, endpoint, caller=EVERYONE)
    assert claim_kinds(runtime) == ["endpoint.test"]
    set_delivered(runtime, "endpoint.test")
    with transaction(runtime.sessions) as session:
        rows.change(session, "endpoint", endpoint, held_until=rows.MINUTE)
    later = list_deliveries(runtime.sessions)[1]
    resend_delivery(runtime.sessions, runtime.settings, later.webhook_id, caller=EVERYONE)
    assert claim_kinds(runtime) == ["job.cancelled"]


def test_an_enabled_endpoint_gets_what_is_pending_at_once(runtime: Runtime) -> None:
    endpoint = add_endpoint(runtime, URL).row.id
    add_events(runtime, "job.failed")
    create_all(runtime)
    switch_endpoint(runtime.sessions, endpoint, is_enabled=False, caller=EVERYONE)
    make_due(runtime, earlier=-rows.HOUR)
    switch_endpoint(runtime.sessions, endpoint, is_enabled=True, caller=EVERYONE)
    assert claim_kinds(runtime) == ["job.failed"]


def test_a_delivery_that_was_not_published_is_given_back(runtime: Runtime) -> None:
    add_endpoint(runtime, URL)
    add_events(runtime, "job.failed")
    create_all(runtime)
    claimed = claim(runtime.sessions)
    with transaction(runtime.sessions) as session:
        assert transitions.deliveries.give_back(session, claimed) == 1
        assert transitions.deliveries.give_back(session, claimed) == 0
    assert len(claim(runtime.sessions)) == 1


def test_pruning_removes_old_deliveries_and_those_of_deleted_endpoints(runtime: Runtime) -> None:
    kept, deleted = add_endpoint(runtime, URL).row.id, add_endpoint(runtime, URL).row.id
    for kind in ("job.failed", "job.cancelled", "job.succeeded"):
        add_events(runtime, kind)
    create_all(runtime)
    set_delivered(runtime, "job.failed")
    set_delivered(runtime, "job.cancelled")
    with transaction(runtime.sessions) as session:
        rows.change(session, "delivery", Delivery.kind == "job.failed", ended_at=-14 * rows.DAY)
        rows.change(session, "delivery", Delivery.kind == "job.succeeded", give_up_at=-2 * rows.HOUR)
    delete_endpoint(runtime.sessions, deleted, caller=EVERYONE)
    assert prune(runtime, Keep()).done
    found = [(each.endpoint_id, each.kind, each.state) for each in list_deliveries(runtime.sessions)]
    assert found == [(kept, "job.cancelled", "delivered"), (kept, "job.succeeded", "failed")]
    with transaction(runtime.sessions) as session:
        assert session.scalars(select(Endpoint.id)).all() == [kept]


def test_a_removed_job_takes_its_deliveries_along(runtime: Runtime) -> None:
    add_endpoint(runtime, URL)
    job_id = add_events(runtime, "job.failed")
    create_all(runtime)
    with transaction(runtime.sessions) as session:
        rows.change(session, "job", job_id, ended_at=-timedelta(days=30))
    assert prune(runtime, Keep(rows=timedelta(days=9))).jobs == 1
    assert list_deliveries(runtime.sessions) == []
