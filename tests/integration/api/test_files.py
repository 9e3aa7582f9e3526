"""Stored files over HTTP: whole, in parts, once, or not at all."""

import hashlib
from pathlib import Path
from uuid import UUID

import pytest

from models import queries
from models.db.session import transaction
from rushes.artifacts.store import ArtifactStore
from tests.support import rows
from tests.support.api_server import Api

CONTENT = bytes(range(256)) * 1000
PICTURE = b"\xff\xd8 a picture"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    """The store that the API reads from."""
    return ArtifactStore(tmp_path / "artifacts")


def publish(store: ArtifactStore, name: str, content: bytes) -> str:
    source = store.scratch() / "draft"
    source.write_bytes(content)
    (url,) = store.publish((source, name))
    return url


def add_stored_job(
    api: Api, store: ArtifactStore, *, state: str = "succeeded", name: str = "pilot/1-a-red-fox.mp4"
) -> UUID:
    """A job that has ended with a video and a poster."""
    files = {
        "video": {"url": publish(store, name, CONTENT), "bytes": len(CONTENT), "sha256": SHA256, "container": "mp4"}
        | {"seconds": 6.04, "width": 1920, "height": 1080, "has_audio": True},
        "poster": {
            "url": publish(store, name.replace(".mp4", ".jpg"), PICTURE),
            "bytes": len(PICTURE),
            "sha256": hashlib.sha256(PICTURE).hexdigest(),
        },
    }
    with transaction(api.sessions) as session:
        job_id = rows.add_job(session, state)
        prediction_id = rows.add_prediction(session, job_id, rows.add_account(session), "completed")
        for kind, columns in files.items():
            rows.insert(session, "artifact", job_id=job_id, prediction_id=prediction_id, kind=kind, **columns)
    return job_id


def test_a_job_tells_of_its_video_and_where_to_fetch_it(api: Api, store: ArtifactStore) -> None:
    job_id = add_stored_job(api, store)
    root = f"{api.client.base_url}/v1/jobs/{job_id}"
    video = {
        "url": f"{root}/video",
        "bytes": len(CONTENT),
        "file_name": "1-a-red-fox.mp4",
        "sha256": SHA256,
        "container": "mp4",
        "seconds": 6.04,
        "width": 1920,
        "height": 1080,
        "has_audio": True,
        "poster_url": f"{root}/poster",
        "removed_at": None,
    }
    assert api.client.get(f"/v1/jobs/{job_id}").json()["video"] == video
    assert api.client.get("/v1/jobs").json()["items"][0]["video"] == video
    assert api.client.get(video["url"]).content == CONTENT


def test_the_whole_file_comes_with_its_name_type_and_checksum(api: Api, store: ArtifactStore) -> None:
    response = api.client.get(f"/v1/jobs/{add_stored_job(api, store)}/video")
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["etag"] == f'"{SHA256}"'
    assert response.headers["content-type"] == "video/mp4"
    assert response.headers["content-disposition"] == 'inline; filename="1-a-red-fox.mp4"'
    assert response.headers["accept-ranges"] == "bytes"


def test_the_poster_is_a_jpeg(api: Api, store: ArtifactStore) -> None:
    response = api.client.get(f"/v1/jobs/{add_stored_job(api, store)}/poster")
    assert (response.content, response.headers["content-type"]) == (PICTURE, "image/jpeg")
    assert response.headers["content-disposition"] == 'inline; filename="1-a-red-fox.jpg"'


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-199", 100, 199),
        ("bytes=255990-", 255990, 255999),
        ("bytes=-10", 255990, 255999),
    ],
)
def test_a_range_is_honoured(api: Api, store: ArtifactStore, asked: str, first: int, last: int) -> None:
    response = api.client.get(f"/v1/jobs/{add_stored_job(api, store)}/video", headers={"Range": asked})
    assert (response.status_code, response.content) == (206, CONTENT[first : last + 1])
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"


def test_a_range_of_another_file_gets_the_whole_one(api: Api, store: ArtifactStore) -> None:
    path = f"/v1/jobs/{add_stored_job(api, store)}/video"
    same = api.client.get(path, headers={"Range": "bytes=0-9", "If-Range": f'"{SHA256}"'})
    other = api.client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"another"'})
    assert (same.status_code, other.status_code, len(other.content)) == (206, 200, len(CONTENT))


def test_a_range_beyond_the_end_is_a_problem(api: Api, store: ArtifactStore) -> None:
    response = api.client.get(f"/v1/jobs/{add_stored_job(api, store)}/video", headers={"Range": "bytes=999999-"})
    assert (response.status_code, response.json()["title"]) == (416, "Range Not Satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_a_caller_that_has_the_file_gets_not_modified(api: Api, store: ArtifactStore) -> None:
    path = f"/v1/jobs/{add_stored_job(api, store)}/video"
    known = api.client.get(path, headers={"If-None-Match": f'W/"x", "{SHA256}"'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", f'"{SHA256}"')
    assert api.client.get(path, headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize("part", ["video", "poster"])
def test_a_head_request_sends_no_file(api: Api, store: ArtifactStore, part: str) -> None:
    response = api.client.head(f"/v1/jobs/{add_stored_job(api, store)}/{part}")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) in {len(CONTENT), len(PICTURE)}


def test_a_cancelled_job_keeps_the_video_that_came(api: Api, store: ArtifactStore) -> None:
    job_id = add_stored_job(api, store, state="cancelled")
    assert api.client.get(f"/v1/jobs/{job_id}/video").content == CONTENT
    retried = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["detail"]) == (
        409,
        f"job {job_id} is cancelled and its video is stored",
    )


@pytest.mark.parametrize(
    ("state", "status", "reported"),
    [
        ("queued", 409, "is queued: there is no video yet"),
        ("rendering", 409, "is rendering: there is no video yet"),
        ("storing", 409, "is storing: there is no video yet"),
        ("failed", 404, "is failed: it has no video"),
        ("cancelled", 404, "is cancelled: it has no video"),
    ],
)
def test_a_job_without_a_video_says_whether_one_may_come(api: Api, state: str, status: int, reported: str) -> None:
    with transaction(api.sessions) as session:
        job_id = rows.add_job(session, state)
    response = api.client.get(f"/v1/jobs/{job_id}/video")
    assert (response.status_code, response.json()["detail"]) == (status, f"job {job_id} {reported}")


def test_a_file_that_is_gone_is_not_found_and_its_place_not_reported(
    api: Api, store: ArtifactStore, tmp_path: Path
) -> None:
    job_id = add_stored_job(api, store)
    next((tmp_path / "artifacts").rglob("*.mp4")).unlink()
    response = api.client.get(f"/v1/jobs/{job_id}/video")
    assert (response.status_code, response.json()["detail"]) == (
        404,
        f"the video of job {job_id} is no longer in the store",
    )


def test_a_file_outside_of_the_store_is_never_sent(api: Api, store: ArtifactStore, tmp_path: Path) -> None:
    job_id = add_stored_job(api, store)
    outside = tmp_path / "secret.mp4"
    outside.write_bytes(b"secret")
    with transaction(api.sessions) as session:
        for file in queries.jobs.list_artifacts(session, [job_id]):
            rows.change(session, "artifact", file.id, url=outside.as_uri())
    assert api.client.get(f"/v1/jobs/{job_id}/video").status_code == 404
