"""Files over HTTP: stored once, referred to by jobs, and replaced by a retry."""

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from models import ActionKind, transitions
from models.db.session import transaction
from models.queries.job_filter import JobFilter
from rushes.jobs import uploads
from rushes.jobs.actions import request_action
from rushes.jobs.retry import retry_job
from tests.support import rows
from tests.support.access import EVERYONE
from tests.support.api_server import Api, fields_of, new_job
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.runtimes import finish_actions
from tests.support.videos import picture

FOLDER = "/v1/uploads"


def send(api: Api, content: bytes, content_type: str = "image/png") -> Any:
    return api.client.post(FOLDER, content=content, headers={"Content-Type": content_type})


def count(api: Api, table: str) -> int:
    with transaction(api.sessions) as session:
        return rows.count(session, table)


def image_job(image: str) -> dict[str, Any]:
    return {"model": "ltx-2-fast-i2v", "input": {"prompt": "a", "image": image}}


def test_a_file_is_stored_once_and_its_type_is_that_of_its_bytes(api: Api) -> None:
    sha256 = hashlib.sha256(picture()).hexdigest()
    kept = {
        "sha256": sha256,
        "size": len(picture()),
        "content_type": "image/png",
        "reference": f"upload:sha256:{sha256}",
    }
    assert [(answer.status_code, answer.json()) for answer in (send(api, picture()), send(api, picture()))] == [
        (201, kept)
    ] * 2
    assert api.client.get(f"{FOLDER}/{sha256}").json() == kept
    assert api.client.get(f"{FOLDER}/{'0' * 64}").status_code == 404
    assert api.client.get(f"{FOLDER}/x").status_code == 422
    assert count(api, "upload") == 1


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "image/png", 422),
        (b"<html></html>", "image/png", 422),
        (picture(), "text/plain", 415),
        (picture(), "multipart/form-data; boundary=x", 415),
        (b"x" * (uploads.LARGEST_UPLOAD + 1), "image/png", 413),
    ],
)
def test_a_file_that_is_no_image_or_video_is_refused(api: Api, content: bytes, content_type: str, status: int) -> None:
    assert send(api, content, content_type).status_code == status
    assert count(api, "upload") == 0


def test_a_job_of_a_reference_and_one_of_a_data_url_have_the_same_input(api: Api) -> None:
    reference = send(api, picture()).json()["reference"]
    data_url = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    pushed = [api.push(**image_job(image)) for image in (reference, data_url)]
    assert [each["input"]["image"] for each in pushed] == [reference] * 2
    batch = api.push_batch("pilot", [image_job(data_url), image_job(reference)])
    assert batch["jobs"] == 2
    assert (count(api, "upload"), count(api, "job_upload")) == (1, 4)


def test_a_wrong_file_in_a_batch_is_named_and_nothing_is_stored(api: Api) -> None:
    jobs = [image_job("https://example.com/a.png"), image_job("data:text/plain,abc")]
    answer = api.client.post("/v1/batches", json={"name": "pilot", "jobs": jobs})
    assert fields_of(answer) == {"jobs.1.input.image": "is not an image"}
    unknown = api.client.post("/v1/jobs", json=image_job(f"upload:sha256:{'0' * 64}"))
    assert fields_of(unknown) == {"input.image": "is not stored: send the file to POST /v1/uploads first"}
    assert (count(api, "job"), count(api, "upload")) == (0, 0)


def test_a_retry_over_http_may_replace_the_input(api: Api) -> None:
    job = api.push(**image_job("https://example.com/a.png"))
    api.client.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    path = f"/v1/jobs/{job['id']}/retry"
    wrong = api.client.post(path, json={"input": {"duration": 7}})
    assert list(fields_of(wrong)) == ["input.duration"]
    assert api.client.post(path, json={"inputs": {}}).status_code == 422
    image = send(api, picture("blue")).json()["reference"]
    retried = api.client.post(path, json={"input": {"image": image, "duration": 8}})
    assert retried.status_code == 202
    assert retried.json()["job"]["input"] == job["input"] | {"image": image, "duration": 8}
    assert retried.json()["job"]["price"] == "0.3200"
    assert api.client.post(path, json={"input": {"duration": 10}}).status_code == 409


@pytest.mark.parametrize("by_action", [False, True])
def test_a_retry_that_waits_for_its_batch_locks_no_upload(
    api: Api, monkeypatch: pytest.MonkeyPatch, by_action: bool
) -> None:
    monkeypatch.setattr(transitions.actions, "_BOUND_WAITS", text("SET LOCAL lock_timeout = '30s'"))
    batch = api.push_batch("pilot", [image_job("https://example.com/a.png")])
    (job,) = api.client.get("/v1/jobs?batch=pilot").json()["items"]
    api.client.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    replaced = {"image": send(api, picture("blue")).json()["reference"]}

    def retry() -> None:
        if by_action:
            arguments, chosen = {"input": replaced}, JobFilter(batch_id=UUID(batch["id"]))
            request_action(api.sessions, ActionKind.RETRY, lambda _: chosen, caller=EVERYONE, arguments=arguments)
            finish_actions(api.sessions)
        else:
            retry_job(api.sessions, UUID(job["id"]), replaced, caller=EVERYONE)

    with ThreadPoolExecutor() as pool:
        with transaction(api.sessions) as filling:  # as a request that adds jobs: the batch, then the uploads
            assert transitions.filling.hold_batch(filling, UUID(batch["id"]))
            retried = pool.submit(retry)
            wait_for_a_blocked_statement(api.sessions)
            filling.execute(text("SELECT FROM upload FOR UPDATE NOWAIT"))
        retried.result()
    assert api.client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued"


def test_an_estimate_forecasts_only_on_request_and_with_a_dispatcher(api: Api) -> None:
    body = {"jobs": [new_job()]}
    for more in ({}, {"forecast": True}):
        answer = api.client.post("/v1/estimate", json=body | more).raise_for_status().json()
        assert (answer["time_left"], answer["first_time_left"]) == (None, None)
