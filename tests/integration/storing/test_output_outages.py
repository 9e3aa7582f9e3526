"""An outage of the output host: recognised from several jobs, probed by one, over for all at the first success."""

from pathlib import Path
from uuid import UUID

import pytest

from models import Prediction, queries, transitions
from models.db.session import transaction
from models.transitions.storing.claims import ClaimedStore
from rushes.accounts import get_account
from rushes.jobs.batches import get_batch
from rushes.jobs.views import get_job
from rushes.jobs.why_waiting import describe_outage
from rushes.monitoring.reports import describe_farm
from rushes.readiness import check_readiness
from rushes.runtime import ACCOUNT, Runtime
from rushes.storing.failures import StoreDelayed
from rushes.storing.store import store_output
from tests.support import rows
from tests.support.output_host import PAGE, Answer, OutputHost
from tests.support.rows import DAY, HOUR, MINUTE, NOW, SECOND
from tests.support.runtimes import LEASE, ask, change
from tests.support.videos import make_video

WAYS = {
    "forbidden": Answer(status=403),
    "not found": Answer(status=404),
    "away": Answer(status=503),
    "a page": Answer(PAGE, content_type="text/html"),
    "empty": Answer(),
}


@pytest.fixture
def account(runtime: Runtime) -> UUID:
    with transaction(runtime.sessions) as session:
        return transitions.accounts.ensure_account(session, ACCOUNT, slots=100, submits_per_minute=1000)


def add_jobs(runtime: Runtime, account: UUID, host: OutputHost, film: bytes, *, count: int) -> list[UUID]:
    """Jobs of one batch whose predictions have completed; the host has their files, if it is well."""
    with transaction(runtime.sessions) as session:
        batch = rows.insert(session, "batch", name="pilot", job_count=count)
        jobs = []
        for number in range(1, count + 1):
            job = rows.add_job(session, "storing", batch_id=batch, number=number)
            rows.add_prediction(session, job, account, "completed", outputs=[host.offer(f"{number}.mp4", film)])
            jobs.append(job)
    return jobs


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "film.mp4", audio=False).read_bytes()


def claim(runtime: Runtime, account: UUID) -> list[ClaimedStore]:
    """What the dispatcher would publish now."""
    with transaction(runtime.sessions) as session:
        found = queries.dispatching.find_account(session, ACCOUNT)
        assert found is not None
        failing = found.outputs_failing
        probe = transitions.claims.claim_probe(session, account, lease=LEASE) if failing else []
        return probe + transitions.claims.claim_stores(session, count=50, lease=LEASE, only_rechecks=failing)


def take(runtime: Runtime, claimed: ClaimedStore) -> bool:
    """Run a store step; whether it stored the video."""
    try:
        store_output(runtime, claimed.prediction_id, claimed.claim, must_stop=lambda: False)
    except StoreDelayed:
        return False
    return True


def begin_outage(runtime: Runtime, account: UUID) -> bool:
    """The leader's question, six seconds after the failures."""
    change(runtime, "prediction", output_failed_at=Prediction.output_failed_at - 6 * SECOND)
    with transaction(runtime.sessions) as session:
        return transitions.output_host.begin_output_outage(session, account) is not None


def fail_all(runtime: Runtime, account: UUID, host: OutputHost, *, answer: Answer) -> None:
    host.always = answer
    assert not any(take(runtime, each) for each in claim(runtime, account))


@pytest.mark.parametrize("way", WAYS)
def test_one_download_probes_an_outage_and_its_success_releases_all(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes, way: str
) -> None:
    jobs = add_jobs(runtime, account, host, film, count=6)
    fail_all(runtime, account, host, answer=WAYS[way])
    assert begin_outage(runtime, account)
    change(runtime, "prediction", due_at=-SECOND)

    for _ in range(3):  # one at a time, and none before its turn
        (probe,) = claim(runtime, account)
        assert claim(runtime, account) == []
        assert not take(runtime, probe)
        change(runtime, "account", outputs_probe_at=NOW)
    assert host.downloads.total() == 6 + 3

    host.always = None
    (probe,) = claim(runtime, account)
    assert take(runtime, probe)
    with transaction(runtime.sessions) as session:
        assert queries.storing.find_output_outage(session) is None
        reported = [kind for kind in rows.kinds(session, account_id=account) if kind.startswith("account.")]
        assert reported == ["account.outputs_failing", "account.outputs_back"]
    waits = ask(runtime, "SELECT extract(epoch FROM due_at - now()) FROM prediction WHERE due_at IS NOT NULL")
    assert len(waits) == 5
    assert all(seconds <= 5 / 20 for (seconds,) in waits)  # twenty a second

    change(runtime, "prediction", Prediction.due_at.is_not(None), due_at=NOW)
    assert all(take(runtime, each) for each in claim(runtime, account))
    assert {get_job(runtime.sessions, job).job.state for job in jobs} == {"succeeded"}
    assert ask(runtime, "SELECT count(*) FROM prediction") == [(6,)]  # nothing was bought again


def test_two_failing_jobs_are_no_outage(runtime: Runtime, account: UUID, host: OutputHost, film: bytes) -> None:
    add_jobs(runtime, account, host, film, count=2)
    fail_all(runtime, account, host, answer=WAYS["forbidden"])
    assert not begin_outage(runtime, account)


def test_failures_alongside_a_success_are_no_outage(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    add_jobs(runtime, account, host, film, count=5)
    del host.files["/1.mp4"], host.files["/2.mp4"], host.files["/3.mp4"]
    stored = [take(runtime, each) for each in claim(runtime, account)]
    assert sorted(stored) == [False] * 3 + [True] * 2
    # Only failures after the last success count.
    change(runtime, "account", outputs_reached_at=NOW)
    assert not begin_outage(runtime, account)


def test_files_that_cannot_be_decoded_are_no_outage_and_are_fetched_twice(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    jobs = add_jobs(runtime, account, host, film, count=20)
    for number in range(1, 21):
        host.offer(f"{number}.mp4", bytes(range(256)) * (10 + number))
    for _ in range(2):
        change(runtime, "prediction", Prediction.due_at.is_not(None), due_at=NOW)
        for each in claim(runtime, account):
            with pytest.raises(Exception, match="not a playable video"):
                store_output(runtime, each.prediction_id, each.claim, must_stop=lambda: False)
        assert not begin_outage(runtime, account)
    assert host.downloads.total() == 40
    codes = {get_job(runtime.sessions, job).job.error_code for job in jobs}
    assert codes == {"output_unverified"}


def test_a_job_that_was_never_tried_probes_first(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    add_jobs(runtime, account, host, film, count=4)
    fail_all(runtime, account, host, answer=WAYS["away"])
    assert begin_outage(runtime, account)
    with transaction(runtime.sessions) as session:
        fresh = rows.add_job(session, "storing")
        rows.add_prediction(session, fresh, account, "completed", outputs=[host.offer("fresh.mp4", film)])
    (probe,) = claim(runtime, account)
    assert probe.job_id == fresh


def test_a_recheck_neither_probes_nor_waits_for_the_end_of_an_outage(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    jobs = add_jobs(runtime, account, host, film, count=4)
    fail_all(runtime, account, host, answer=WAYS["away"])
    assert begin_outage(runtime, account)
    change(runtime, "account", outputs_probe_at=HOUR)
    change(runtime, "prediction", Prediction.job_id == jobs[0], rechecks=True, store_crashes=1, due_at=NOW)
    change(runtime, "prediction", Prediction.job_id == jobs[1], store_crashes=1, due_at=-HOUR)
    assert [each.job_id for each in claim(runtime, account)] == [jobs[0]]
    change(runtime, "account", outputs_probe_at=NOW)
    (probe,) = claim(runtime, account)
    assert probe.job_id != jobs[0]


def test_a_probe_that_is_under_way_is_the_only_one(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    add_jobs(runtime, account, host, film, count=4)
    fail_all(runtime, account, host, answer=WAYS["away"])
    assert begin_outage(runtime, account)
    (probe,) = claim(runtime, account)
    with transaction(runtime.sessions) as session:
        assert transitions.steps.begin_store(session, probe.prediction_id, probe.claim, lease=LEASE)
    change(runtime, "account", outputs_probe_at=NOW)
    assert claim(runtime, account) == []


def test_files_that_are_gone_for_good_begin_no_series_of_outages(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    add_jobs(runtime, account, host, film, count=3)
    begun = []
    for _ in range(5):
        change(runtime, "prediction", due_at=NOW)
        fail_all(runtime, account, host, answer=WAYS["not found"])
        begun.append(begin_outage(runtime, account))
        change(runtime, "account", outputs_reached_at=None)
        with transaction(runtime.sessions) as session:
            transitions.output_host.note_output_reached(session, account)
        change(runtime, "account", outputs_reached_at=-HOUR)
    assert begun == [True, True, True, False, False]


def test_every_surface_names_an_outage(runtime: Runtime, account: UUID, host: OutputHost, film: bytes) -> None:
    jobs = add_jobs(runtime, account, host, film, count=4)
    fail_all(runtime, account, host, answer=WAYS["forbidden"])
    assert begin_outage(runtime, account)
    with transaction(runtime.sessions) as session:
        outage = queries.storing.find_output_outage(session)
    assert outage is not None
    assert outage.waiting == 4
    assert "status 403" in outage.failure
    sentence = describe_outage(outage)
    assert sentence.startswith("every download has failed for")

    wait = get_job(runtime.sessions, jobs[0], explained=True).wait
    assert wait is not None
    assert outage.failure in wait.message
    assert outage.failure in describe_farm(runtime)
    for seen in (
        check_readiness(runtime.sessions).outage,
        get_account(runtime.sessions).summary.outage,
        get_batch(runtime.sessions, ask(runtime, "SELECT id FROM batch")[0][0]).outage,
    ):
        assert seen is not None
        assert (seen.failure, seen.waiting) == (outage.failure, 4)


def test_an_outage_makes_no_lag(runtime: Runtime, account: UUID, host: OutputHost, film: bytes) -> None:
    add_jobs(runtime, account, host, film, count=4)
    fail_all(runtime, account, host, answer=WAYS["forbidden"])
    assert begin_outage(runtime, account)
    change(runtime, "prediction", due_at=-10 * MINUTE)
    change(runtime, "account", outputs_probe_at=20 * SECOND)
    with transaction(runtime.sessions) as session:
        assert queries.health.find_health(session).lag_seconds == 0
        found = queries.dispatching.survey(session, ACCOUNT)
    assert found is not None
    assert (found.due.next_seconds or 0) > 0


def test_an_outage_that_nobody_waits_for_ends(runtime: Runtime, account: UUID, host: OutputHost, film: bytes) -> None:
    add_jobs(runtime, account, host, film, count=3)
    fail_all(runtime, account, host, answer=WAYS["forbidden"])
    assert begin_outage(runtime, account)
    with transaction(runtime.sessions) as session:
        assert not transitions.output_host.end_unprobed_outages(session)
    change(runtime, "prediction", due_at=None)
    with transaction(runtime.sessions) as session:
        assert transitions.output_host.end_unprobed_outages(session)


def test_an_event_warns_a_day_before_downloads_are_given_up(runtime: Runtime, account: UUID) -> None:
    with transaction(runtime.sessions) as session:
        old, young = (
            rows.add_render(session, "completed", account_id=account, ended_at=ended).job_id
            for ended in (-5 * DAY - SECOND, -4 * DAY)
        )
    with transaction(runtime.sessions) as session:
        assert [transitions.unverified.warn_of_giving_up(session, count=9) for _ in range(2)] == [1, 0]
        assert rows.kinds(session, job_id=old) == ["store.giving_up_soon"]
        assert rows.kinds(session, job_id=young) == []


def test_downloads_that_wait_for_an_outage_are_given_up_after_six_days(
    runtime: Runtime, account: UUID, host: OutputHost, film: bytes
) -> None:
    jobs = add_jobs(runtime, account, host, film, count=4)
    fail_all(runtime, account, host, answer=WAYS["forbidden"])
    assert begin_outage(runtime, account)
    with transaction(runtime.sessions) as session:
        assert transitions.unverified.end_expired_downloads(session, count=9) == 0
    change(runtime, "prediction", ended_at=-6 * DAY)
    with transaction(runtime.sessions) as session:
        assert transitions.unverified.end_expired_downloads(session, count=9) == 4
    ended = {(job.state, job.error_code) for job in (get_job(runtime.sessions, each).job for each in jobs)}
    assert ended == {("failed", "output_expired")}
