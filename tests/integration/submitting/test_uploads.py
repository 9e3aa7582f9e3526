"""Files as inputs: stored once, sent to the provider when a submission needs them, and never bought twice."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from models import DEFAULT_TENANT, PredictionState, SentUpload, transitions
from models.db.session import transaction
from models.transitions.admission import ClaimedSubmit
from models.transitions.jobs import NewBatch
from models.transitions.submitting import UPLOAD_USABLE
from rushes.access.callers import act_locally
from rushes.catalog import REFERENCE
from rushes.errors import Conflict, InvalidInput
from rushes.jobs.pruning import Keep, prune
from rushes.jobs.pushing import JobOrder, OnRepeat, check_orders, push_batch, push_job
from rushes.jobs.retry import retry_job
from rushes.jobs.uploads import keep_upload
from rushes.jobs.views import get_job, list_events
from rushes.runtime import ACCOUNT, Runtime
from rushes.submitting.submit import SubmitUnconfirmed, submit_prediction
from rushes.submitting.upload import UploadDelayed, UploadRefused
from sandbox.wavespeed.handle import Simulator
from tests.support import rows
from tests.support.runtimes import ask, change, open_runtime, reconcile
from tests.support.videos import picture

LEASE = timedelta(seconds=30)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(median=60) as running:
        yield running


@pytest.fixture
def runtime(database_url: str, tmp_path: Path, simulator: Simulator) -> Iterator[Runtime]:
    opened = open_runtime(database_url, simulator, tmp_path, list_lag_seconds=1, freeze_allowance_seconds=1)
    with transaction(opened.sessions) as session:
        transitions.accounts.ensure_account(session, ACCOUNT, slots=9, submits_per_minute=600)
    yield opened
    simulator.clear_faults()
    opened.close()


def order(address: str, prompt: str = "the fox turns") -> JobOrder:
    return JobOrder(model="ltx-2-fast-i2v", input={"image": address, "prompt": prompt})


def push_image(runtime: Runtime, content: bytes, prompt: str = "the fox turns") -> UUID:
    """A job whose image is an upload."""
    kept = keep_upload(runtime.sessions, content, tenant_id=DEFAULT_TENANT)
    job, *_ = push_job(runtime.sessions, order(REFERENCE + kept.sha256, prompt), tenant_id=DEFAULT_TENANT)
    return job.id


def account_of(runtime: Runtime) -> UUID:
    ((account,),) = ask(runtime, "SELECT id FROM account")
    return UUID(str(account))


def claim(runtime: Runtime, *, count: int = 1) -> list[ClaimedSubmit]:
    """Admit what waits, and claim what is due."""
    account = account_of(runtime)
    with transaction(runtime.sessions) as session:
        transitions.admission.admit_jobs(session, account, count=count)
        return transitions.admission.claim_submits(session, account, count=count, lease=LEASE)


def step(runtime: Runtime) -> str:
    """Claim one submission, and take its step."""
    (claimed,) = claim(runtime)
    return submit_prediction(runtime, claimed.prediction_id, claimed.claim)


def sent_images(simulator: Simulator, prompt: str) -> list[str]:
    return [each["input"]["image"] for each in simulator.tasks() if each["input"]["prompt"] == prompt]


def uploads_of(simulator: Simulator) -> int:
    return int(simulator.stats()["requests"].get("put", 0))


def test_a_file_is_sent_once_and_the_job_is_posted_with_its_address(runtime: Runtime, simulator: Simulator) -> None:
    before = uploads_of(simulator)
    jobs = [push_image(runtime, picture(), "once") for _ in range(2)]
    assert step(runtime).startswith("uploaded ")
    assert [step(runtime).split(" ")[0] for _ in jobs] == ["accepted"] * 2
    assert uploads_of(simulator) - before == 1
    (first, second) = sent_images(simulator, "once")
    assert first == second
    assert first.startswith(simulator.url)
    stored = ask(runtime, "SELECT input->>'image', sent_input->>'image' FROM job JOIN prediction ON job_id = job.id")
    assert {kept.startswith(REFERENCE) and sent == first for kept, sent in stored} == {True}


def test_a_file_that_the_provider_has_had_for_six_days_is_sent_again(runtime: Runtime, simulator: Simulator) -> None:
    push_image(runtime, picture("blue"), "old")
    step(runtime), step(runtime)
    change(runtime, "sent_upload", SentUpload.sha256.is_not(None), sent_at=-UPLOAD_USABLE - rows.MINUTE)
    push_image(runtime, picture("blue"), "old")
    assert step(runtime).startswith("uploaded ")
    step(runtime)
    assert len(set(sent_images(simulator, "old"))) == 2


def test_one_submission_sends_a_file_and_the_others_wait_for_it(runtime: Runtime, simulator: Simulator) -> None:
    for _ in range(2):
        push_image(runtime, picture("green"), "together")
    first, second = claim(runtime, count=2)
    lease = runtime.settings.upload_lease
    with transaction(runtime.sessions) as session:
        ticket = transitions.uploads.begin_upload(
            session, first.prediction_id, first.claim, usable=UPLOAD_USABLE, lease=lease
        )
    assert ticket
    assert ticket.content == picture("green")
    assert submit_prediction(runtime, second.prediction_id, second.claim).startswith("waits")
    assert claim(runtime, count=2) == []
    with transaction(runtime.sessions) as session:
        transitions.uploads.finish_upload(session, ticket.account_id, ticket.sha256, url=f"{simulator.url}/a.png")
    assert {each.prediction_id for each in claim(runtime, count=2)} == {first.prediction_id, second.prediction_id}


def test_an_upload_whose_worker_died_is_sent_again(runtime: Runtime) -> None:
    push_image(runtime, picture("white"))
    (claimed,) = claim(runtime)
    with transaction(runtime.sessions) as session:
        assert transitions.uploads.begin_upload(
            session, claimed.prediction_id, claimed.claim, usable=UPLOAD_USABLE, lease=timedelta(0)
        )
    assert step(runtime).startswith("uploaded ")


def test_a_failed_upload_is_taken_over_by_a_step_that_began_before(runtime: Runtime) -> None:
    for _ in range(2):
        push_image(runtime, picture("gold"))
    first, second = claim(runtime, count=2)
    begin = {"usable": UPLOAD_USABLE, "lease": LEASE}
    with transaction(runtime.sessions) as session:
        ticket = transitions.uploads.begin_upload(session, first.prediction_id, first.claim, **begin)
    assert ticket
    with transaction(runtime.sessions) as later:
        later.execute(text("SELECT now()"))
        with transaction(runtime.sessions) as session:
            transitions.uploads.finish_upload(session, ticket.account_id, ticket.sha256, url=None)
        taken = transitions.uploads.begin_upload(later, second.prediction_id, second.claim, **begin)
    assert taken
    assert taken.content == picture("gold")


@pytest.mark.parametrize("kind", ["upload", "put"])
def test_a_failed_upload_frees_the_slot_and_costs_no_attempt(runtime: Runtime, simulator: Simulator, kind: str) -> None:
    job = push_image(runtime, picture("yellow"), f"delayed {kind}")
    simulator.set_fault("upload_fails", status=503, kind=kind, count=1)
    with pytest.raises(UploadDelayed):
        step(runtime)
    view = get_job(runtime.sessions, job)
    assert (view.job.state, view.job.error_code, view.attempts, view.live) == ("queued", "upload_failed", 0, None)
    assert view.job.due_at is not None
    assert sent_images(simulator, f"delayed {kind}") == []
    change(runtime, "job", job, due_at=rows.NOW)
    assert step(runtime).startswith("uploaded ")
    assert step(runtime).startswith("accepted")
    assert ask(runtime, "SELECT count(*) FROM prediction WHERE posted_at IS NOT NULL") == [(1,)]


@pytest.mark.parametrize("kind", ["upload", "put"])
def test_a_file_that_the_provider_refuses_fails_its_job(runtime: Runtime, simulator: Simulator, kind: str) -> None:
    job = push_image(runtime, picture("black"), "refused")
    simulator.set_fault("upload_fails", status=413, kind=kind, count=1)
    with pytest.raises(UploadRefused, match="413"):
        step(runtime)
    view = get_job(runtime.sessions, job)
    assert (view.job.state, view.job.error_code, view.spent + view.held) == ("failed", "upload_refused", 0)


def test_a_refused_key_backs_the_account_off(runtime: Runtime, simulator: Simulator) -> None:
    push_image(runtime, picture("pink"))
    simulator.set_fault("key_rejected", kind="upload", count=1)
    with pytest.raises(UploadDelayed):
        step(runtime)
    assert ask(runtime, "SELECT back_off_until > now() FROM account") == [(True,)]


def test_a_lost_answer_is_found_by_the_address_that_was_sent(runtime: Runtime, simulator: Simulator) -> None:
    job = push_image(runtime, picture("brown"), "lost")
    step(runtime)
    simulator.set_fault("submit_504", count=1)
    with pytest.raises(SubmitUnconfirmed):
        step(runtime)
    # Meanwhile the file is sent again, for another job, and has another address.
    change(runtime, "sent_upload", SentUpload.sha256.is_not(None), sent_at=-UPLOAD_USABLE - rows.MINUTE)
    push_image(runtime, picture("brown"), "lost too")
    assert step(runtime).startswith("uploaded ")
    change(runtime, "prediction", due_at=rows.NOW)
    reconcile(runtime, account_of(runtime))
    (found,) = get_job(runtime.sessions, job).predictions
    assert found.state == PredictionState.RENDERING
    assert len(sent_images(simulator, "lost")) == 1


def test_a_retry_sends_a_file_again_that_the_provider_has_lost(runtime: Runtime, simulator: Simulator) -> None:
    job = push_image(runtime, picture("grey"), "gone")
    step(runtime)
    change(runtime, "sent_upload", SentUpload.sha256.is_not(None), url=f"{simulator.url}/media/{'0' * 32}/a.png")
    step(runtime)
    change(runtime, "prediction", state="failed", ended_at=rows.NOW, due_at=None)
    change(runtime, "job", job, state="failed", ended_at=rows.NOW, error_code="media", due_at=None)
    retry_job(runtime.sessions, job, caller=act_locally("mara"))
    assert step(runtime).startswith("uploaded ")
    step(runtime)
    lost, good = sent_images(simulator, "gone")
    assert lost != good


def test_a_retry_replaces_inputs_and_keeps_those_of_earlier_predictions(runtime: Runtime) -> None:
    old, new = (keep_upload(runtime.sessions, picture(each), tenant_id=DEFAULT_TENANT) for each in ("olive", "navy"))
    job, *_ = push_job(runtime.sessions, order(REFERENCE + old.sha256, "replaced"), tenant_id=DEFAULT_TENANT)
    step(runtime)
    sent = step(runtime)
    assert sent.startswith("accepted")
    change(runtime, "prediction", state="not_found", ended_at=rows.NOW, due_at=None, provider_id=None)
    change(runtime, "job", job.id, state="failed", ended_at=rows.NOW, error_code="x", due_at=None)
    replaced = {"image": REFERENCE + new.sha256, "duration": 8}
    assert retry_job(runtime.sessions, job.id, replaced, caller=act_locally("mara")) == "queued"
    view = get_job(runtime.sessions, job.id)
    assert view.job.input == {**job.input, **replaced}
    assert view.job.price == job.price / 6 * 8
    (event,) = [
        each for each in list_events(runtime.sessions, job.id, limit=99, after=0).items if each.kind == "job.retried"
    ]
    assert event.detail["replaced"] == {"image": REFERENCE + old.sha256, "duration": 6}
    with transaction(runtime.sessions) as session:
        (posted,) = list(session.execute(text("SELECT sent_input FROM prediction")))
    assert posted[0]["duration"] == 6
    assert posted[0]["image"].startswith("http://")


def test_a_retry_with_a_wrong_input_changes_nothing(runtime: Runtime) -> None:
    job = push_image(runtime, picture())
    change(runtime, "job", job, state="failed", ended_at=rows.NOW, error_code="x", due_at=None)
    for wrong in ({"duration": 7}, {"seed": 1}, {"image": REFERENCE + "0" * 64}, {"image": "data:text/plain,abc"}):
        with pytest.raises(InvalidInput, match="input"):
            retry_job(runtime.sessions, job, wrong, caller=act_locally("mara"))
    assert get_job(runtime.sessions, job).job.state == "failed"


def test_a_retry_that_only_downloads_takes_no_other_input(runtime: Runtime) -> None:
    with transaction(runtime.sessions) as session:
        render = rows.add_render(session, "completed", account_id=account_of(runtime))
        rows.change(session, "job", render.job_id, state="failed", ended_at=rows.NOW, error_code="x")
        rows.change(session, "prediction", render.prediction_id, due_at=None)
    with pytest.raises(Conflict, match="only needs to be downloaded"):
        retry_job(runtime.sessions, render.job_id, {"prompt": "another"}, caller=act_locally("mara"))
    assert get_job(runtime.sessions, render.job_id).job.state == "failed"


def test_data_urls_are_stored_once_and_recognised_as_the_same_push(runtime: Runtime) -> None:
    address = f"data:image/png;base64,{base64.b64encode(picture('teal')).decode()}"
    pushed = push_batch(
        runtime.sessions, NewBatch(DEFAULT_TENANT, "one"), check_orders([order(address)] * 3, max_jobs=9)
    )
    again = push_batch(
        runtime.sessions,
        NewBatch(DEFAULT_TENANT, "two"),
        check_orders([order(address.replace("image/png", "image/x-other"))] * 3, max_jobs=9),
        on_repeat=OnRepeat.SAME_JOBS,
    )
    assert (again.is_repeat, again.batch.id) == (True, pushed.batch.id)
    assert ask(runtime, "SELECT count(*) FROM upload") == [(1,)]
    assert ask(runtime, "SELECT count(*), max(length(input::text)) < 200 FROM job") == [(3, True)]


def test_an_upload_that_is_not_stored_or_of_another_kind_is_refused(runtime: Runtime) -> None:
    kept = keep_upload(runtime.sessions, picture(kind="GIF"), tenant_id=DEFAULT_TENANT)
    retake = {"video": REFERENCE + kept.sha256, "prompt": "x", "end_time": 4}
    with pytest.raises(InvalidInput, match=r"input\.video: is not a video, but image/gif"):
        push_job(runtime.sessions, JobOrder(model="ltx-2-retake", input=retake), tenant_id=DEFAULT_TENANT)
    orders = [order("https://a.example/b.png"), order(REFERENCE + "0" * 64)]
    with pytest.raises(InvalidInput, match=r"jobs\.1\.input\.image: is not stored"):
        push_batch(runtime.sessions, NewBatch(DEFAULT_TENANT, "unknown"), check_orders(orders, max_jobs=9))
    assert ask(runtime, "SELECT count(*) FROM job") == [(0,)]


def test_pruning_removes_uploads_that_no_job_uses(runtime: Runtime) -> None:
    job = push_image(runtime, picture("lime"))
    keep_upload(runtime.sessions, picture("aqua"), tenant_id=DEFAULT_TENANT)
    prune(runtime, Keep())
    assert ask(runtime, "SELECT count(*) FROM upload") == [(2,)]
    change(runtime, "upload", used_at=-2 * rows.DAY)
    prune(runtime, Keep())
    assert ask(runtime, "SELECT upload.sha256 = job_upload.sha256, job_id FROM upload, job_upload") == [(True, job)]
    change(runtime, "job", job, state="cancelled", ended_at=-9 * rows.DAY, due_at=None)
    prune(runtime, Keep(rows=8 * rows.DAY))
    assert ask(runtime, "SELECT (SELECT count(*) FROM upload), (SELECT count(*) FROM job)") == [(0, 0)]
