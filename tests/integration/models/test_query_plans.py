"""The plans of the hot statements with 100,000 jobs stored: none reads a large table from end to end.

Postgres itself reports the plan of whatever the real functions run (auto_explain): at their first run, and at the run
by which a prepared statement has the plan it will keep.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import DEFAULT_TENANT, ArtifactKind, JobState, Prediction, PredictionState, queries, transitions
from models.lifecycle import Reason
from models.queries.callbacks.deliveries import DeliveryFilter
from models.queries.events.feed import FeedFilter
from models.queries.forecasting import Whose
from models.queries.job_filter import JobFilter
from models.queries.job_lists import JobSort, find_place, list_failed, list_ids, list_jobs
from models.transitions.admission import RATE_WINDOW
from models.transitions.callbacks import attempts, deliveries
from models.transitions.storing.steps import NewArtifact
from models.transitions.watching.finished_renders import NewFinishedRender, record_finished
from rushes.runtime import ACCOUNT
from sandbox.servers import EmbeddedPostgres
from tests.support.rows import MINUTE, NOW, SHA256, change, open_session
from tests.support.servers import create_database, url_of

LARGE = frozenset({"job", "prediction", "event", "artifact", "delivery"})
FEW = 1_500  # rows that a hot statement may check: renders in flight, a page, a minute's submissions
PAGE = 100
BATCH = 4_500
EVENTS = 100_000
LEASE = timedelta(seconds=30)
VIDEO = NewArtifact(ArtifactKind.VIDEO, "file:///a.mp4", 7, SHA256)

# From the oldest to the youngest: 45,000 ended jobs, nearly all of them counted, 20 to store, 400 in flight, the rest
# queued; 20 batches of 4,500.
FILL = """
    INSERT INTO account (id, name, slots, submits_per_minute) VALUES (uuidv7(), 'default', 500, 6000);
    INSERT INTO batch (id, name, job_count) SELECT uuidv7(), 'batch-' || n, 4500 FROM generate_series(1, 20) AS n;
    INSERT INTO worker (name, queues, threads) VALUES ('w', '{submit,watch}', 8);

    INSERT INTO job
        (id, batch_id, number, video_model, input, price, priority, state, due_at, created_at, ended_at, error_code)
    SELECT uuidv7(), batch.id, CASE WHEN batch.id IS NOT NULL THEN n END,
        'lightricks/' || CASE WHEN n % 10000 = 0 THEN 'ltx-2-retake' ELSE 'ltx-2-pro/text-to-video' END,
        '{"prompt": "a lighthouse at dusk", "duration": 6, "generate_audio": true}', 0.36, (n % 3) - 1, state,
        CASE state WHEN 'queued' THEN now() - age / 100 END, now() - age,
        CASE WHEN state IN ('succeeded', 'failed', 'cancelled') THEN now() - age / 2 END,
        CASE WHEN state = 'failed' THEN 'broken' END
    FROM generate_series(1, 100000) AS n
    CROSS JOIN LATERAL (SELECT (100000 - n) * interval '1 s' AS age, CASE
        WHEN n <= 45000 AND n % 50 = 0 THEN 'failed'
        WHEN n <= 45000 AND n % 70 = 0 THEN 'cancelled'
        WHEN n <= 45000 THEN 'succeeded'
        WHEN n <= 45020 THEN 'storing'
        WHEN n <= 45420 THEN 'rendering'
        ELSE 'queued' END AS state) AS story
    LEFT JOIN batch ON batch.name = 'batch-' || ((n - 1) / 4500 + 1)
    ORDER BY n;

    INSERT INTO prediction
        (id, job_id, account_id, attempt, price, state, due_at, not_before, posted_at, provider_id, accepted_at,
        outputs, ended_at, hook_asked, hooked_at, hook_outcome, ended_by_hook, early_check_at, counted)
    SELECT uuidv7(), job.id, account.id, attempt, 0.36, story.state,
        CASE WHEN story.state = 'submitting' OR live AND n % 40 = 9 THEN now() - interval '1 s'
            WHEN story.state = 'rendering' THEN now() + interval '10 min' - age
            WHEN job.state = 'storing' AND story.state = 'completed' THEN now() END,
        now() - age, CASE WHEN story.state <> 'submitting' THEN now() - age END,
        CASE WHEN accepted THEN 'p' || n || '-' || attempt END, CASE WHEN accepted THEN now() - age END,
        CASE WHEN story.state = 'completed' THEN '["https://example.com/x.mp4"]'::jsonb END,
        CASE WHEN NOT live THEN now() - age END, accepted,
        CASE WHEN accepted AND NOT live THEN now() END, CASE WHEN accepted AND NOT live THEN story.state END,
        accepted AND NOT live AND n % 20 > 0, CASE WHEN n % 40 = 11 AND live THEN now() END,
        accepted AND NOT live AND n <= 44500
    FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM job WHERE state <> 'queued') AS job
    CROSS JOIN generate_series(1, 2) AS attempt
    CROSS JOIN account
    CROSS JOIN LATERAL (SELECT job.state = 'rendering' AND attempt = 2 AS live) AS alive
    CROSS JOIN LATERAL (SELECT (45420 - n) * interval '0.4 s' + interval '3 s' AS age, CASE
        WHEN live AND n % 40 = 0 THEN 'unconfirmed' WHEN live AND n % 40 < 3 THEN 'submitting'
        WHEN live THEN 'rendering' WHEN attempt = 1 THEN 'refused'
        WHEN job.state IN ('failed', 'cancelled') THEN 'failed' ELSE 'completed' END AS state) AS story
    CROSS JOIN LATERAL (SELECT story.state IN ('rendering', 'completed', 'failed') AS accepted) AS bought
    WHERE attempt = 2 OR n % 10 = 0;

    INSERT INTO event (kind, job_id, prediction_id)
    SELECT 'prediction.' || state, job_id, id FROM prediction CROSS JOIN generate_series(1, 2);

    INSERT INTO artifact (id, job_id, prediction_id, kind, url, bytes, sha256)
    SELECT uuidv7(), job_id, id, 'video', 'file:///a.mp4', 1, repeat('0', 64)
    FROM prediction WHERE state = 'completed' AND accepted_at < now() - interval '5 min';

    INSERT INTO endpoint (id, tenant_id, url, kinds, secret, after, suspect_until, held_until)
    SELECT uuidv7(), id, 'https://a.example', '["job.*"]', 'whsec_AAAA', 0, now(),
        CASE WHEN n > 1 THEN now() + interval '1 h' END
    FROM tenant CROSS JOIN generate_series(1, 4) AS n;

    INSERT INTO delivery (webhook_id, endpoint_id, event_id, job_id, kind, state, give_up_at, due_at, ended_at)
    SELECT gen_random_uuid(), endpoint.id, row_number() OVER (), job.id, 'job.' || job.state, story.state,
        now() + interval '1 day', CASE WHEN story.state = 'pending' THEN now() END,
        CASE WHEN story.state <> 'pending' THEN now() END
    FROM (SELECT id, state, row_number() OVER (ORDER BY id) AS n FROM job WHERE ended_at IS NOT NULL LIMIT 15000) AS job
    CROSS JOIN endpoint
    CROSS JOIN LATERAL (
        SELECT CASE n % 3 WHEN 0 THEN 'delivered' WHEN 1 THEN 'failed' ELSE 'pending' END AS state) AS story;
"""
SETTLED = 12  # psycopg prepares a statement at its sixth run; five more, and Postgres has made up its mind
AUTO_EXPLAIN = (
    "LOAD 'auto_explain'",
    "SET auto_explain.log_min_duration = 0",
    "SET auto_explain.log_analyze = on",
    "SET auto_explain.log_timing = off",
    "SET auto_explain.log_format = json",
    "SET auto_explain.log_level = notice",
)


class Farm(NamedTuple):
    """Rows to ask about."""

    session: Session
    account: UUID
    jobs: dict[str, list[UUID]]  # by state
    predictions: dict[str, list[UUID]]  # by state
    batches: list[UUID]


Ask = Callable[[Farm], Any]


@pytest.fixture(scope="module")
def crowded_database(postgres: EmbeddedPostgres, migrated_template: str) -> str:
    """The name of a database with 100,000 jobs; nothing in it is changed for good."""
    postgres.start()
    name = create_database(postgres, template=migrated_template)
    with psycopg.connect(url_of(postgres, name), autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute("VACUUM ANALYZE")  # as autovacuum does within a minute of such a load
    return name


@pytest.fixture
def farm(postgres: EmbeddedPostgres, crowded_database: str) -> Iterator[Farm]:
    postgres.start()
    with open_session(url_of(postgres, crowded_database)) as session:
        for setting in AUTO_EXPLAIN:
            session.execute(text(setting))
        yield Farm(
            session,
            account=session.execute(text("SELECT id FROM account")).scalar_one(),
            jobs=sample(session, "job"),
            predictions=sample(session, "prediction"),
            batches=list(session.scalars(text("SELECT id FROM batch ORDER BY id"))),
        )


def sample(session: Session, table: str) -> dict[str, list[UUID]]:
    """Some ids of each state."""
    query = f"SELECT state, (array_agg(id ORDER BY id))[1:{PAGE}] FROM {table} GROUP BY state"  # noqa: S608
    return {state: list(ids) for state, ids in session.execute(text(query))}


@contextmanager
def plans_of(session: Session) -> Iterator[list[dict[str, Any]]]:
    """The plans of what runs in the block; what it changes is taken back."""
    plans: list[dict[str, Any]] = []

    def keep(notice: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (notice.message_primary or "").partition("plan:\n")
        if found:
            plans.append(json.loads(plan))

    connection: Any = session.connection().connection.driver_connection
    # Past psycopg, which forgets all prepared statements where it meets a ROLLBACK.
    connection.pgconn.exec_(b"SAVEPOINT before")
    connection.add_notice_handler(keep)
    yield plans
    connection.pgconn.exec_(b"SAVEPOINT after")  # a plan is reported when the next statement takes its place
    connection.remove_notice_handler(keep)
    connection.pgconn.exec_(b"ROLLBACK TO SAVEPOINT before")


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)


def count_checked(node: dict[str, Any]) -> float:
    """Rows that a scan has read, those included that it threw away."""
    thrown_away = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + thrown_away) * node["Actual Loops"])


def list_faults(plans: list[dict[str, Any]], *, most_rows: float) -> list[str]:
    """What is wrong with these plans."""
    faults = []
    for plan in plans:
        for node in nodes_of(plan["Plan"]):
            scan, table = node["Node Type"], node.get("Relation Name")
            if "Scan" not in scan or table not in LARGE or not node["Actual Loops"]:
                continue
            if scan == "Seq Scan":
                faults.append(f"reads all of {table}: {node.get('Filter')}")
            elif count_checked(node) > most_rows:
                faults.append(f"reads {count_checked(node):.0f} rows of {table} by {node.get('Index Name')}")
    return faults


def submit_everything(farm: Farm) -> None:
    """One turn of admission."""
    transitions.accounts.raise_slots(farm.session, farm.account)
    transitions.admission.count_free_slots(farm.session, farm.account)
    transitions.admission.admit_jobs(farm.session, farm.account, count=20)
    transitions.admission.claim_submits(farm.session, farm.account, count=20, lease=LEASE)


def claim_and_post(farm: Farm) -> None:
    claimed = transitions.admission.claim_submits(farm.session, farm.account, count=2, lease=LEASE)
    one, other = claimed
    transitions.submitting.postpone_submits(farm.session, [other], delay=LEASE)
    transitions.submitting.begin_submit(farm.session, one.prediction_id, one.claim, lease=LEASE)
    transitions.submitting.unpost_submit(farm.session, one.prediction_id, one.claim, detail="x")
    transitions.submitting.hand_back_submit(farm.session, one.prediction_id, one.claim)


def answer_post(farm: Farm) -> None:
    one, other = farm.predictions["submitting"][:2]
    for prediction in (one, other):
        change(farm.session, "prediction", prediction, posted_at=NOW)
    answer = {"provider_id": "new", "provider_created_at": None, "watch_window": MINUTE}
    transitions.submitting.accept_answer(farm.session, one, **answer, forecast={})
    transitions.submitting.accept_prediction(farm.session, one, **answer)
    transitions.submitting.refuse_submit(farm.session, other, 0, reason=Reason("x", "y"), fails_job=False)
    transitions.accounts.limit_slots(farm.session, farm.account)
    transitions.submitting.mark_unconfirmed(farm.session, other, 0, message="x")


def end_renders(farm: Farm) -> None:
    one, other = farm.predictions["rendering"][:2]
    transitions.renders.complete_prediction(farm.session, one, 0, outputs=["x"])
    transitions.renders.end_prediction(
        farm.session, other, 0, state=PredictionState.FAILED, reason=Reason("x", "y"), resubmit_after=MINUTE
    )


def learn_render_times(farm: Farm) -> None:
    completed = queries.render_times.list_completed(farm.session, count=500)
    assert len(completed) == 500
    new = [NewFinishedRender(each.prediction_id, each.video_model, 6, each.ended_at, 1.0, 2.0) for each in completed]
    record_finished(farm.session, new, keep=1_000)
    queries.render_times.list_finished(farm.session, count=400)
    queries.render_times.count_running(farm.session)


def store_everything(farm: Farm) -> None:
    crashed = Prediction.job_id.in_(farm.jobs["storing"][:2]) & Prediction.due_at.is_not(None)
    change(farm.session, "prediction", crashed, begun_at=NOW)
    assert len(transitions.claims.take_back_stores(farm.session, count=500)) == 2
    claimed = transitions.claims.claim_stores(farm.session, count=20, lease=LEASE)
    assert len(claimed) == 19
    transitions.claims.postpone_stores(farm.session, claimed[10:], delay=MINUTE)
    first, second, third = claimed[:3]
    assert transitions.steps.begin_store(farm.session, first.prediction_id, first.claim, lease=LEASE)
    transitions.steps.renew_store(farm.session, first.prediction_id, first.claim, lease=LEASE)
    transitions.steps.finish_store(farm.session, first.prediction_id, first.claim, artifacts=[VIDEO])
    transitions.steps.delay_store(
        farm.session, second.prediction_id, second.claim, delay=MINUTE, reason=Reason("x", "y")
    )
    transitions.steps.fail_store(farm.session, third.prediction_id, third.claim, reason=Reason("x", "y"))
    change(farm.session, "prediction", claimed[3].prediction_id, due_at=NOW)
    assert transitions.steps.begin_next_store(farm.session, lease=LEASE)
    queries.storing.measure_load(farm.session)


def send_callbacks(farm: Farm) -> None:
    """From the event to the answer, next to a backlog of endpoints that are held."""
    place = queries.wanted_events.find_position(farm.session)
    until = queries.feed.find_last_id(farm.session)
    wanted = queries.wanted_events.list_wanted(farm.session, after=until - PAGE, until=until)
    give_up: Any = {"last_id": place.last_id, "until": until, "give_up": MINUTE}
    transitions.deliveries.create_deliveries(farm.session, wanted, **give_up)
    claimed = transitions.deliveries.claim_deliveries(farm.session, count=PAGE, threads=32, lease=LEASE)
    assert len(claimed) == deliveries.AT_ONCE
    outcome = attempts.Outcome(500, 1, None, None)
    for number, each in enumerate(claimed[1:]):
        attempt = transitions.attempts.begin_attempt(farm.session, each.id, each.claim, lease=LEASE)
        assert attempt is not None
        queries.wanted_events.describe_subject(farm.session, event_id=attempt.event_id, job_id=attempt.job_id)
        if number:
            transitions.attempts.record_success(farm.session, attempt, outcome)
        else:
            transitions.attempts.record_failure(farm.session, attempt, outcome, waits=attempts.Waits(MINUTE, MINUTE))
    transitions.deliveries.give_back(farm.session, claimed[:1])
    transitions.deliveries.give_up_old(farm.session, grace=MINUTE, count=PAGE)
    transitions.deliveries.remove_old(farm.session, older_than=MINUTE, count=PAGE)


def list_callbacks(farm: Farm) -> None:
    """Pages of deliveries, of all and of one job."""
    for chosen in (DeliveryFilter(), DeliveryFilter(state="failed"), DeliveryFilter(job_id=farm.jobs["failed"][0])):
        queries.deliveries.list_deliveries(farm.session, chosen, limit=PAGE, before=None)


def keep_duplicates(farm: Farm) -> None:
    """One turn, and a duplicate purchase from its first check to its file."""
    (one,) = farm.predictions["refused"][:1]
    found: Any = {"provider_id": "s", "provider_created_at": None, "watch_window": MINUTE}
    assert transitions.submitting.accept_prediction(farm.session, one, **found) == "duplicate"
    watched = queries.renders.find_watched(farm.session, one)
    assert watched
    assert transitions.renders.complete_prediction(farm.session, one, watched.claim, outputs=["x"])
    claims = {
        each.prediction_id: each.claim for each in transitions.claims.claim_stores(farm.session, count=500, lease=LEASE)
    }
    assert transitions.steps.begin_store(farm.session, one, claims[one], lease=LEASE)
    assert transitions.steps.finish_store(farm.session, one, claims[one], artifacts=[VIDEO])
    assert queries.jobs.find_duplicate_file(farm.session, one, ArtifactKind.VIDEO)


def cancel_and_retry(farm: Farm) -> None:
    for state in ("queued", "rendering", "storing"):
        transitions.jobs.cancel_job(farm.session, farm.jobs[state][-1])
    for state in ("failed", "cancelled"):
        transitions.retries.retry_job(farm.session, farm.jobs[state][0])


def decide(farm: Farm) -> None:
    """What a person does to purchases."""
    one, other = farm.predictions["unconfirmed"][:2]
    assert transitions.purchases.adopt_unconfirmed(farm.session, one, provider_id="new", watch_window=MINUTE, by="x")
    assert transitions.purchases.dismiss_unconfirmed(farm.session, other, by="x")
    stuck = farm.predictions["rendering"][0]
    change(farm.session, "prediction", stuck, watch_windows=1)
    assert transitions.purchases.abandon_prediction(farm.session, stuck, by="x")


def see_refused(farm: Farm) -> None:
    change(farm.session, "account", back_offs=1, back_off_reason="key", back_off_since=NOW, back_off_until=NOW)
    facts = queries.status.find_account_facts(farm.session, "default")
    assert facts is not None
    assert facts.refused


def hint(farm: Farm) -> None:
    """What says that renders may have ended."""
    said = farm.predictions["rendering"][:2]
    assert transitions.renders.request_early_checks(farm.session, said) == 2
    assert set(said) <= {
        each.prediction_id for each in queries.renders.list_rendering(farm.session, newer_than_seconds=10)
    }


def read_page(farm: Farm) -> None:
    """What a sweep compares with the provider's list."""
    whole = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    queries.renders.list_page(farm.session, farm.account, after=whole[0], before=whole[1])
    running = [str(each) for each in farm.predictions["rendering"]]
    queries.renders.measure_sweep_lag(farm.session, farm.account, running=running, elapsed=1.0)
    transitions.lists.note_sweep_lag(farm.session, farm.account, seconds=1.0)
    transitions.lists.note_list_failure(farm.session, farm.account, elapsed=1.0)
    transitions.lists.note_own_share(farm.session, farm.account, shown=running[:100], unlike=0.0)
    transitions.lists.record_checks(farm.session, farm.account, price=0.5, budget=5.0, requests=7)
    transitions.lists.owe_requests(farm.session, farm.account, count=2)
    transitions.lists.pay_requests(farm.session, farm.account, count=1)


def prune(farm: Farm) -> None:
    """One round of pruning."""
    assert transitions.pruning.delete_batch(farm.session, farm.batches[0], by="x")
    transitions.pruning.mark_files(farm.session, older_than=MINUTE, count=20)
    assert transitions.pruning.mark_batch_files(farm.session, count=20) == 20
    marked = queries.pruning.list_marked_files(farm.session, count=20)
    transitions.pruning.confirm_removed(farm.session, [each.artifact_id for each in marked])
    transitions.pruning.remove_jobs(farm.session, older_than=MINUTE, count=20)
    transitions.pruning.remove_batches(farm.session)
    assert transitions.pruning.count_ended(farm.session, count=20) == 20


def jobs_like(sort: JobSort = JobSort.CREATED, **chosen: Any) -> Ask:
    """A page of jobs from either end of the list, and from the middle."""

    def ask(farm: Farm) -> None:
        for is_reversed in (False, True):
            order: Any = {"sort": sort, "is_reversed": is_reversed, "limit": PAGE}
            last = list_jobs(farm.session, JobFilter(**chosen), **order)[-1]
            list_jobs(farm.session, JobFilter(**chosen), **order, after=find_place(last, sort))

    return ask


def next_jobs(**chosen: Any) -> Ask:
    """The first and the next chunk of an action, as filtered by its request."""
    until = {"created_before": datetime.now(UTC), "ended_before": datetime.now(UTC)}

    def ask(farm: Farm) -> None:
        ids = list_ids(farm.session, JobFilter(**until, **chosen), limit=PAGE)
        list_ids(farm.session, JobFilter(**until, **chosen), limit=PAGE, after=ids[-1])

    return ask


def jobs_of_batches(sort: JobSort = JobSort.CREATED, **chosen: Any) -> Ask:
    """A page of the oldest, a middle and the youngest batch."""

    def ask(farm: Farm) -> None:
        for batch in (farm.batches[0], farm.batches[10], farm.batches[-1]):
            list_jobs(farm.session, JobFilter(batch_id=batch, **chosen), sort=sort, limit=PAGE)

    return ask


HOT: dict[str, Ask] = {
    "admission": submit_everything,
    "submitting": claim_and_post,
    "the answer to a POST": answer_post,
    "doubting the overdue": lambda farm: transitions.submitting.mark_overdue_unconfirmed(farm.session),
    "outcomes": end_renders,
    "ended watch windows": lambda farm: transitions.renders.requeue_timed_out(
        farm.session, watch_window=MINUTE, count=500
    ),
    "the end of retention": lambda farm: (
        transitions.retention.end_retained(farm.session, count=500),
        transitions.retention.note_retention_near(farm.session, count=500),
        transitions.retention.hand_over_unconfirmed(farm.session, count=500),
    ),
    "storing": store_everything,
    "duplicates": keep_duplicates,
    "callbacks": send_callbacks,
    "cancelling and retrying": cancel_and_retry,
    "pruning": prune,
    "a person's decisions": decide,
    "unconfirmed": lambda farm: queries.reconciling.list_unconfirmed(farm.session),
    "what a forecast is made of": lambda farm: (
        queries.forecasting.find_capacity(farm.session, "default", rate_window=RATE_WINDOW),
        queries.forecasting.find_recent(farm.session),
        queries.forecasting.list_running(farm.session, Whose(batch_id=farm.batches[10])),
        queries.forecasting.list_storing(farm.session, Whose(batch_id=farm.batches[10])),
    ),
    "promises": lambda farm: queries.forecasting.list_promises(farm.session, count=100),
    "a batch's history": lambda farm: queries.jobs.list_batch_events(farm.session, farm.batches[0], limit=PAGE),
    "busy batches": lambda farm: queries.forecasting.list_busy_batches(farm.session, count=3),
    "what is due": lambda farm: queries.dispatching.survey(farm.session, ACCOUNT),
    "chores": lambda farm: queries.dispatching.find_chores(farm.session),
    "the ends of batches": lambda farm: transitions.endings.end_batches(farm.session, after=farm.batches[9]),
    "new renders": lambda farm: queries.renders.list_rendering(farm.session, newer_than_seconds=10),
    "all renders": lambda farm: queries.renders.list_rendering(farm.session, newer_than_seconds=1e9),
    "some renders": lambda farm: queries.renders.list_rendering_of(farm.session, farm.predictions["rendering"]),
    "what has ended": lambda farm: queries.renders.list_ended(farm.session, farm.account, newer_than_seconds=10),
    "totals": lambda farm: (
        queries.totals.find_totals(farm.session, ACCOUNT),
        queries.totals.list_latencies(farm.session),
        queries.totals.count_stale_writes(farm.session),
        queries.totals.measure_oldest_transaction(farm.session),
    ),
    "hints": hint,
    "the status after a refusal": see_refused,
    "a page of renders": read_page,
    "what render times are learned from": learn_render_times,
    "a webhook": lambda farm: (
        transitions.renders.note_webhook(
            farm.session, farm.predictions["rendering"][0], outcome=PredictionState.COMPLETED
        ),
        queries.webhooks.measure_webhook_agreement(farm.session, farm.account),
    ),
    "delivered webhooks": lambda farm: (
        queries.webhooks.measure_webhook_delivery(farm.session, farm.account),
        queries.webhooks.find_webhook_stats(farm.session, farm.account),
    ),
    "controls": lambda farm: queries.reconciling.list_controls(
        farm.session,
        farm.account,
        {farm.predictions["completed"][0]: datetime.now(UTC)},
        until=datetime.now(UTC),
    ),
    "one render": lambda farm: queries.renders.find_watched(farm.session, farm.predictions["rendering"][0]),
    "a job's history": lambda farm: queries.jobs.list_events(farm.session, farm.jobs["succeeded"][0], limit=PAGE),
    "a page's predictions": lambda farm: queries.jobs.list_predictions(farm.session, farm.jobs["succeeded"]),
    "a page's files": lambda farm: queries.jobs.list_artifacts(farm.session, farm.jobs["succeeded"]),
    "jobs": jobs_like(),
    **{f"{state} jobs": jobs_like(states=(state,)) for state in JobState if state != JobState.STORING},
    "jobs of a batch": jobs_of_batches(),
    "failed jobs of a batch": jobs_of_batches(states=(JobState.FAILED,)),
    "succeeded jobs of a batch": jobs_of_batches(states=(JobState.SUCCEEDED,)),
    "failed and rendering jobs": jobs_like(states=(JobState.FAILED, JobState.RENDERING)),
    "jobs with a failure code": jobs_like(code="broken"),
    "failed jobs with a failure code": jobs_like(states=(JobState.FAILED,), code="broken"),
    "ended jobs": jobs_like(JobSort.ENDED),
    "failed jobs by their end": jobs_like(JobSort.ENDED, states=(JobState.FAILED,)),
    "jobs that ended lately": jobs_like(JobSort.ENDED, ended_after=datetime.now(UTC) - timedelta(hours=8)),
    "next jobs of an action by state": next_jobs(states=(JobState.FAILED, JobState.CANCELLED)),
    "next jobs of an action by code": next_jobs(states=(JobState.FAILED, JobState.CANCELLED), code="broken"),
    "jobs of a video model": jobs_like(video_model="lightricks/ltx-2-pro/text-to-video"),
}
HOT |= {
    "new events": lambda farm: queries.feed.list_feed(farm.session, after=EVENTS - PAGE, until=EVENTS, limit=1_000),
    "a tenant's first event": lambda farm: queries.feed.find_first_id(
        farm.session, tenant_id=DEFAULT_TENANT, batch_id=None
    ),
    "a batch's first event": lambda farm: queries.feed.find_first_id(
        farm.session, tenant_id=None, batch_id=farm.batches[0]
    ),
    "keys": lambda farm: queries.keys.list_usable(farm.session, [DEFAULT_TENANT]),
}
COUNTING: dict[str, Ask] = {
    "deliveries": list_callbacks,
    "places of what has ended": lambda farm: queries.renders.list_ended_places(farm.session, farm.account),
    "the queue before a batch": lambda farm: queries.forecasting.list_waiting(
        farm.session, Whose(batch_id=farm.batches[-1])
    ),
    "the queue before a job": lambda farm: queries.forecasting.list_waiting(
        farm.session, Whose(job_id=farm.jobs["queued"][0])
    ),
    "the farm": lambda farm: queries.health.find_farm(farm.session),
    "its health": lambda farm: queries.health.find_health(farm.session),
    "what may be bought after a restore": lambda farm: queries.reconciling.list_open_jobs(
        farm.session, ["lightricks/ltx-2-retake"]
    ),
    "jobs of a rare video model": lambda farm: list_jobs(
        farm.session, JobFilter(video_model="lightricks/ltx-2-retake"), limit=PAGE
    ),
    "jobs of no video model": lambda farm: list_jobs(farm.session, JobFilter(video_model="x"), limit=PAGE),
    "failures": lambda farm: list_failed(farm.session, JobFilter(), limit=100_000),
    "late failures": lambda farm: list_failed(
        farm.session, JobFilter(ended_after=datetime.now(UTC) - timedelta(hours=8)), limit=100_000
    ),
    "failures with a code": lambda farm: list_failed(farm.session, JobFilter(code="broken"), limit=100_000),
    "the dearest failed jobs": jobs_like(JobSort.COST, states=(JobState.FAILED,)),
}

OF_A_BATCH: dict[str, Ask] = {
    "ended jobs": jobs_of_batches(JobSort.ENDED),
    "the dearest jobs": jobs_of_batches(JobSort.COST),
    "jobs with a failure code": jobs_of_batches(code="broken"),
    "failures": lambda farm: list_failed(farm.session, JobFilter(batch_id=farm.batches[4]), limit=100_000),
}

OF_A_BATCH["events"] = lambda farm: queries.feed.list_batch_feed(
    farm.session, after=EVENTS - PAGE, until=EVENTS, limit=PAGE, chosen=FeedFilter(batch_id=farm.batches[4])
)

at_first_and_later = pytest.mark.parametrize("run", [1, SETTLED])


def faults_of(farm: Farm, asks: dict[str, Ask], *, run: int, most_rows: float) -> dict[str, list[str]]:
    """The faults of each at its n-th run, where there are any."""
    faults = {}
    for name, ask in asks.items():
        for _ in range(run):
            with plans_of(farm.session) as plans:
                ask(farm)
        assert plans, f"{name}: no plan was reported"
        if found := list_faults(plans, most_rows=most_rows):
            faults[name] = found
    return faults


@at_first_and_later
def test_a_hot_statement_checks_few_rows(farm: Farm, run: int) -> None:
    assert faults_of(farm, HOT, run=run, most_rows=FEW) == {}


@at_first_and_later
def test_a_batchs_numbers_are_read_from_its_own_jobs(farm: Farm, run: int) -> None:
    asks: dict[str, Ask] = {"numbers": lambda farm: queries.jobs.summarise_batches(farm.session, farm.batches[4:5])}
    faults = faults_of(farm, asks, run=run, most_rows=BATCH)
    # Its predictions: one by one, or all at once where that is cheaper; the planner weighs the sizes of both.
    assert set(faults.get("numbers", ())) <= {"reads all of prediction: None"}


@at_first_and_later
def test_a_list_of_a_batch_is_read_from_its_own_jobs(farm: Farm, run: int) -> None:
    assert faults_of(farm, OF_A_BATCH, run=run, most_rows=BATCH) == {}


@at_first_and_later
def test_a_counting_statement_reads_by_an_index(farm: Farm, run: int) -> None:
    assert faults_of(farm, COUNTING, run=run, most_rows=float("inf")) == {}


def test_a_sequential_scan_would_be_found(farm: Farm) -> None:
    unindexed = {"by price": lambda farm: farm.session.execute(text("SELECT id FROM job WHERE price > 1"))}
    assert faults_of(farm, unindexed, run=1, most_rows=FEW)["by price"][0].startswith("reads all of job")
