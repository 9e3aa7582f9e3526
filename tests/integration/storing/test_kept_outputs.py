"""Bytes that arrive are kept, whatever they are; twice the same settles it; a later probe can accept them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from models import Action, ActionKind, ArtifactKind, queries, transitions
from models.db.session import transaction
from models.queries.job_filter import JobFilter
from rushes.access.callers import act_locally
from rushes.artifacts import probe as video
from rushes.errors import Conflict, NotFound
from rushes.jobs.actions import get_action, request_action
from rushes.jobs.rechecks import recheck_job
from rushes.jobs.retry import retry_job
from rushes.jobs.views import get_job
from rushes.runtime import QUICK_SECONDS, Runtime
from rushes.storing.failures import STORE_LEASE, StoreDelayed, StoreFailed
from rushes.storing.store import store_output
from rushes.wavespeed.answers import ProviderUnavailable
from rushes.wavespeed.predictions import PredictionStatus, ProviderPrediction
from tests.support import rows
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.output_host import PAGE, OutputHost
from tests.support.rows import NOW, SECOND
from tests.support.runtimes import LEASE, change, finish_actions
from tests.support.videos import make_video

NOISE = bytes(range(256)) * 16


@pytest.fixture
def film(tmp_path: Path) -> bytes:
    return make_video(tmp_path / "film.mp4", audio=False).read_bytes()


def add_job(runtime: Runtime, address: str, **columns: object) -> UUID:
    """A job whose prediction has completed with this output."""
    with transaction(runtime.sessions) as session:
        return rows.add_render(session, "completed", outputs=[address], **columns).job_id


def store(runtime: Runtime, job_id: UUID) -> str:
    """The job's next store step, now. Raises what the step raises."""
    with transaction(runtime.sessions) as session:
        (output,) = queries.jobs.list_predictions(session, [job_id])
        if output.due_at is not None:
            rows.change(session, "prediction", output.id, due_at=-SECOND)
        claimed = {each.job_id: each for each in transitions.claims.claim_stores(session, count=50, lease=LEASE)}
    own = claimed[job_id]
    return store_output(runtime, own.prediction_id, own.claim, must_stop=lambda: False)


def end_unverified(runtime: Runtime, job_id: UUID) -> None:
    """Both downloads that settle it."""
    with pytest.raises(StoreDelayed):
        store(runtime, job_id)
    with pytest.raises(StoreFailed):
        store(runtime, job_id)


def read_kept(runtime: Runtime, job_id: UUID) -> bytes:
    kept = get_job(runtime.sessions, job_id).find_file(ArtifactKind.UNVERIFIED)
    assert kept is not None
    with runtime.store.open(kept.url) as file:
        return file.read()


def list_files(runtime: Runtime) -> list[str]:
    root = runtime.store.scratch().parent
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def state_of(runtime: Runtime, job_id: UUID) -> tuple[str, str | None]:
    job = get_job(runtime.sessions, job_id).job
    return job.state, job.error_code


@pytest.mark.parametrize(
    ("body", "content_type"), [(NOISE, "video/mp4"), (b"just words", "text/plain"), (b"ID3" + bytes(99), "audio/mpeg")]
)
def test_a_file_that_fails_twice_is_kept_and_ends_its_job(
    runtime: Runtime, host: OutputHost, body: bytes, content_type: str
) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", body, content_type=content_type) + "?signature=secret")
    end_unverified(runtime, job_id)

    assert state_of(runtime, job_id) == ("failed", "output_unverified")
    assert read_kept(runtime, job_id) == body
    assert host.downloads == {"/a.mp4": 2}
    kept = get_job(runtime.sessions, job_id).find_file(ArtifactKind.UNVERIFIED)
    assert kept is not None
    assert (kept.content_type, kept.source) == (content_type, f"{host.url}/a.mp4")
    assert kept.message
    assert kept.url.endswith(".unverified")


def test_a_file_that_differs_each_time_is_tried_on(runtime: Runtime, host: OutputHost) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", NOISE))
    for number in range(1, 5):
        host.offer("a.mp4", NOISE + bytes(number))
        with pytest.raises(StoreDelayed):
            store(runtime, job_id)
    assert read_kept(runtime, job_id) == NOISE + bytes(4)


def test_a_new_address_of_the_provider_is_tried_before_the_job_ends(
    runtime: Runtime, host: OutputHost, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", NOISE))
    addresses = (host.offer("b.mp4", NOISE),)

    def answer(provider_id: str) -> ProviderPrediction:
        return ProviderPrediction(provider_id, PredictionStatus.COMPLETED, outputs=addresses)

    monkeypatch.setattr(runtime.quick_client, "get_prediction", answer)
    for _ in range(2):  # the second download has the same bytes, but is from the old address
        with pytest.raises(StoreDelayed):
            store(runtime, job_id)
        addresses = (host.offer("c.mp4", film),)
    assert "stored" in store(runtime, job_id)
    assert state_of(runtime, job_id) == ("succeeded", None)


def test_a_video_replaces_the_file_that_was_kept_before_it(runtime: Runtime, host: OutputHost, film: bytes) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", PAGE, content_type="text/html"))
    with pytest.raises(StoreDelayed):
        store(runtime, job_id)
    assert read_kept(runtime, job_id) == PAGE

    host.offer("a.mp4", film)
    store(runtime, job_id)

    assert state_of(runtime, job_id) == ("succeeded", None)
    assert get_job(runtime.sessions, job_id).find_file(ArtifactKind.UNVERIFIED) is None
    assert not [name for name in list_files(runtime) if name.endswith(".unverified")]


def test_a_page_that_came_twice_ends_its_job_once_other_downloads_work(
    runtime: Runtime, host: OutputHost, film: bytes
) -> None:
    with transaction(runtime.sessions) as session:
        account = rows.add_account(session)
    page = add_job(runtime, host.offer("a.mp4", PAGE, content_type="text/html"), account_id=account)
    for name in ("b.mp4", "c.mp4"):
        with pytest.raises(StoreDelayed):
            store(runtime, page)
        store(runtime, add_job(runtime, host.offer(name, film), account_id=account))

    with pytest.raises(StoreFailed, match="twice"):
        store(runtime, page)

    assert state_of(runtime, page) == ("failed", "output_unverified")
    assert host.downloads["/a.mp4"] == 2


def test_a_page_that_came_twice_in_a_row_says_nothing(runtime: Runtime, host: OutputHost, film: bytes) -> None:
    """The host may have been down for all, and nobody else has asked it."""
    with transaction(runtime.sessions) as session:
        account = rows.add_account(session)
    page = add_job(runtime, host.offer("a.mp4", PAGE, content_type="text/html"), account_id=account)
    for _ in range(2):
        with pytest.raises(StoreDelayed):
            store(runtime, page)
    host.offer("a.mp4", film)
    store(runtime, add_job(runtime, host.offer("b.mp4", film), account_id=account))
    store(runtime, page)
    assert state_of(runtime, page) == ("succeeded", None)


def test_a_page_that_came_twice_says_nothing_while_other_downloads_fail(
    runtime: Runtime, host: OutputHost, film: bytes
) -> None:
    with transaction(runtime.sessions) as session:
        account = rows.add_account(session)
    page = add_job(runtime, host.offer("a.mp4", PAGE, content_type="text/html"), account_id=account)
    other = add_job(runtime, f"{host.url}/missing.mp4", account_id=account)
    for job in (page, other, page):
        with pytest.raises(StoreDelayed):
            store(runtime, job)
    host.offer("a.mp4", film)
    store(runtime, add_job(runtime, host.offer("b.mp4", film), account_id=account))
    store(runtime, page)
    assert state_of(runtime, page) == ("succeeded", None)


def test_a_type_that_is_none_is_not_kept(runtime: Runtime, host: OutputHost) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", NOISE, content_type="video/mp4\0<script>"))
    with pytest.raises(StoreDelayed):
        store(runtime, job_id)
    kept = get_job(runtime.sessions, job_id).find_file(ArtifactKind.UNVERIFIED)
    assert kept is not None
    assert kept.content_type is None


def test_a_provider_that_does_not_answer_costs_no_lease(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[timedelta] = []
    renew = transitions.steps.renew_store

    def renew_and_note(*given: Any, lease: timedelta) -> bool:
        asked.append(lease)
        return renew(*given, lease=lease)

    monkeypatch.setattr(transitions.steps, "renew_store", renew_and_note)
    monkeypatch.setattr(runtime.quick_client, "get_prediction", raise_timeout)
    with pytest.raises(StoreDelayed):
        store(runtime, add_job(runtime, f"{runtime.settings.wavespeed_url}/output/gone.mp4"))
    assert asked == [STORE_LEASE]
    assert STORE_LEASE.total_seconds() / 2 > QUICK_SECONDS


def raise_timeout(_: str) -> ProviderPrediction:
    raise ProviderUnavailable("no answer")


def test_a_page_never_replaces_a_cut_video(runtime: Runtime, host: OutputHost, film: bytes) -> None:
    cut = film[: len(film) - 200]
    job_id = add_job(runtime, host.offer("a.mp4", cut))
    for body in (cut, PAGE):
        host.offer("a.mp4", body)
        with pytest.raises(StoreDelayed):
            store(runtime, job_id)
    assert read_kept(runtime, job_id) == cut


def test_a_retry_by_a_person_fetches_once_and_buys_nothing(runtime: Runtime, host: OutputHost, film: bytes) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", NOISE))
    end_unverified(runtime, job_id)
    assert retry_job(runtime.sessions, job_id, caller=act_locally("mara")) == "storing"
    with pytest.raises(StoreFailed):
        store(runtime, job_id)
    assert host.downloads == {"/a.mp4": 3}

    host.offer("a.mp4", film)
    assert retry_job(runtime.sessions, job_id, caller=act_locally("mara")) == "storing"
    store(runtime, job_id)
    assert state_of(runtime, job_id) == ("succeeded", None)


def test_a_deleted_file_is_fetched_once_more_before_it_is_bought_again(runtime: Runtime, host: OutputHost) -> None:
    job_id = add_job(runtime, f"{host.url}/gone.mp4", ended_at=-timedelta(days=8), posted_at=-timedelta(days=8))
    with pytest.raises(StoreFailed):
        store(runtime, job_id)
    assert state_of(runtime, job_id) == ("failed", "output_gone")
    assert retry_job(runtime.sessions, job_id, caller=act_locally("mara")) == "queued"


def test_a_recheck_that_passes_makes_the_job_succeed_without_a_download(
    runtime: Runtime, host: OutputHost, film: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(video, "CONTAINERS", "gif")  # a probe that has not learned MP4 yet
        job_id = add_job(runtime, host.offer("a.mp4", film))
        end_unverified(runtime, job_id)
        with transaction(runtime.sessions) as session:  # a cancel request that came too late
            rows.change(session, "job", job_id, cancel_requested_at=NOW)
        recheck_job(runtime.sessions, job_id, caller=act_locally("mara"))
        with pytest.raises(StoreFailed):
            store(runtime, job_id)
        assert state_of(runtime, job_id) == ("failed", "output_unverified")

    recheck_job(runtime.sessions, job_id, caller=act_locally("mara"))
    store(runtime, job_id)

    assert state_of(runtime, job_id) == ("succeeded", None)
    assert host.downloads == {"/a.mp4": 2}
    assert not [name for name in list_files(runtime) if name.endswith(".unverified")]
    with transaction(runtime.sessions) as session:
        kinds = rows.kinds(session, job_id=job_id)
    assert kinds[-4:] == ["job.rechecked", "job.failed", "job.rechecked", "job.succeeded"]


def test_a_kept_file_that_is_gone_is_named_by_its_recheck(runtime: Runtime, host: OutputHost) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", NOISE))
    end_unverified(runtime, job_id)
    kept = get_job(runtime.sessions, job_id).find_file(ArtifactKind.UNVERIFIED)
    assert kept is not None
    runtime.store.remove(kept.url)
    recheck_job(runtime.sessions, job_id, caller=act_locally("mara"))
    with pytest.raises(StoreFailed, match="gone"):
        store(runtime, job_id)
    assert state_of(runtime, job_id) == ("failed", "output_unverified")


def test_a_recheck_of_a_job_that_has_nothing_to_probe_is_refused(runtime: Runtime, host: OutputHost) -> None:
    job_id = add_job(runtime, host.offer("a.mp4", NOISE))
    with pytest.raises(Conflict, match="no unverified file"):
        recheck_job(runtime.sessions, job_id, caller=act_locally("mara"))
    with pytest.raises(NotFound):
        recheck_job(runtime.sessions, UUID(int=1), caller=act_locally("mara"))


def add_unverified(runtime: Runtime, *codes: str) -> list[UUID]:
    """Failed jobs with a kept file, one for each error code. Returns their ids in order."""
    jobs = []
    with transaction(runtime.sessions) as session:
        for code in codes:
            render = rows.add_render(session, "completed")
            rows.change(session, "job", render.job_id, state="failed", ended_at=NOW, error_code=code)
            rows.change(session, "prediction", render.prediction_id, due_at=None)
            rows.add_artifact(session, render.job_id, render.prediction_id, kind="unverified")
            jobs.append(render.job_id)
    return sorted(jobs)


def recheck_by_code(runtime: Runtime) -> Action:
    """An action, to its end."""
    chosen = JobFilter(code="output_unverified")
    action = request_action(runtime.sessions, ActionKind.RECHECK, lambda _: chosen, caller=act_locally("mara"))
    finish_actions(runtime.sessions)
    return get_action(runtime.sessions, action.id)


def test_a_recheck_by_code_goes_on_after_a_job_that_was_retried_meanwhile(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rushes.jobs.actions.CHUNK", 2)
    jobs = add_unverified(runtime, *("output_unverified",) * 5)
    with ThreadPoolExecutor(1) as pool:
        with transaction(runtime.sessions) as session:
            assert transitions.retries.retry_job(session, jobs[0]) == "storing"
            rechecked = pool.submit(recheck_by_code, runtime)
            wait_for_a_blocked_statement(runtime.sessions)
        action = rechecked.result(timeout=60)
    assert (action.changed, action.refused) == (4, 1)


def test_a_recheck_by_code_reaches_every_job_with_a_kept_file(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rushes.jobs.actions.CHUNK", 2)
    add_unverified(runtime, *("output_unverified",) * 5, "moderation")
    assert recheck_by_code(runtime).changed == 5
    assert recheck_by_code(runtime).changed == 0


def test_a_duplicate_purchase_keeps_its_file_next_to_that_of_the_job(runtime: Runtime, host: OutputHost) -> None:
    address = host.offer("a.mp4", NOISE)
    with transaction(runtime.sessions) as session:
        render = rows.add_render(session, "completed", is_duplicate=True, outputs=[address], due_at=NOW)
    for error in (StoreDelayed, StoreFailed):
        change(runtime, "prediction", due_at=NOW)
        with transaction(runtime.sessions) as session:
            (claimed,) = transitions.claims.claim_stores(session, count=1, lease=LEASE)
        with pytest.raises(error):
            store_output(runtime, render.prediction_id, claimed.claim, must_stop=lambda: False)
    with transaction(runtime.sessions) as session:
        file = queries.jobs.find_duplicate_file(session, render.prediction_id, ArtifactKind.UNVERIFIED)
    assert file is not None
    assert get_job(runtime.sessions, render.job_id).find_file(ArtifactKind.UNVERIFIED) is None
