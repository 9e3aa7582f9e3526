"""When a paid video is given up: after some doubts about the video itself, never for what befell the workers."""

from datetime import timedelta
from uuid import UUID

import pytest

from models import queries, transitions
from models.session import transaction
from rushes.copying import StoreDelayed, StoreFailed
from rushes.runtime import Runtime
from rushes.storing import store_job
from tests.runtimes import LEASE, begin_submit, claim_submits, push, run

DOUBTS = 5
AT_ONCE = timedelta(0)


@pytest.fixture
def job_id(runtime: Runtime) -> UUID:
    """A job that stores a video which the provider's files do not have: each attempt finds a 404."""
    with transaction(runtime.sessions) as session:
        account = transitions.ensure_account(session, "default", slots=1, submits_per_minute=60)
    (job,) = push(runtime, {"prompt": "a"})
    (claimed,) = claim_submits(runtime, account)
    begin_submit(runtime, claimed)
    with transaction(runtime.sessions) as session:
        transitions.accept_prediction(
            session, claimed.prediction_id, provider_id="task-1", provider_created_at=None, watch_window=LEASE
        )
        outputs = [f"{runtime.settings.wavespeed_url}/output/gone.mp4"]
        transitions.complete_prediction(session, claimed.prediction_id, claimed.claim, outputs=outputs)
    return job


def claim(runtime: Runtime, job_id: UUID) -> int:
    run(runtime, "UPDATE job SET due_at = now()")
    with transaction(runtime.sessions) as session:
        (claimed,) = transitions.claim_stores(session, count=1, lease=LEASE)
    assert claimed.job_id == job_id
    return claimed.claim


def doubt_once(runtime: Runtime, job_id: UUID) -> None:
    store_job(runtime, job_id, claim(runtime, job_id), must_stop=lambda: False)


def find_state(runtime: Runtime, job_id: UUID) -> str:
    with transaction(runtime.sessions) as session:
        job = queries.find_job(session, job_id)
    assert job is not None
    return job.state


def test_cut_downloads_and_shutdowns_do_not_bring_the_end_of_a_paid_video_nearer(
    runtime: Runtime, job_id: UUID
) -> None:
    for code in ("not_stored", "handed_back") * DOUBTS:
        number = claim(runtime, job_id)
        with transaction(runtime.sessions) as session:
            transitions.begin_store(session, job_id, number, lease=LEASE)
            transitions.delay_store(session, job_id, number, delay=AT_ONCE, reason=(code, "not the video's fault"))

    with pytest.raises(StoreDelayed):
        doubt_once(runtime, job_id)
    assert find_state(runtime, job_id) == "storing"


def test_a_video_that_is_doubted_again_and_again_is_given_up_and_a_retry_begins_anew(
    runtime: Runtime, job_id: UUID
) -> None:
    for _ in range(DOUBTS - 1):
        with pytest.raises(StoreDelayed):
            doubt_once(runtime, job_id)
    with pytest.raises(StoreFailed):
        doubt_once(runtime, job_id)
    assert find_state(runtime, job_id) == "failed"

    with transaction(runtime.sessions) as session:
        assert transitions.retry_job(session, job_id) == "storing"
    with pytest.raises(StoreDelayed):
        doubt_once(runtime, job_id)
