"""Batches over HTTP: priced, pushed whole or not at all, and followed."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.db.session import transaction
from tests.support import rows
from tests.support.api_server import Api, new_job

SECOND = rows.SECOND


def test_a_batch_is_stored_in_the_order_it_was_pushed(api: Api) -> None:
    jobs = [new_job(input={"prompt": f"take {number}"}) for number in range(1, 1501)]
    pushed = api.client.post("/v1/batches", json={"name": "pilot", "jobs": jobs})
    batch = pushed.json()
    assert pushed.status_code == 201
    assert pushed.headers["location"].endswith("/v1/batches/pilot")
    assert (batch["jobs"], batch["states"]["queued"], batch["done"]) == (1500, 1500, 0)
    assert batch["cost"] == {"estimated": "540.0000", "held": "0.0000", "spent": "0.0000"}
    assert (batch["ended_at"], batch["seconds_left"], batch["mean_seconds"]) == (None, None, None)
    first = api.client.get("/v1/jobs?batch=pilot&limit=500").json()["items"]
    assert [(job["number"], job["input"]["prompt"]) for job in first] == [
        (number, f"take {number}") for number in range(1500, 1000, -1)
    ]


def test_warnings_of_a_batch_are_counted(api: Api) -> None:
    batch = api.push_batch("pilot", [new_job(input={"seed": 1}), new_job(input={"seed": 2}), new_job()])
    assert batch["warnings"] == [{"message": "seed is not supported by ltx-2-pro: dropped", "jobs": 2}]


def test_a_name_is_given_once(api: Api) -> None:
    api.push_batch("pilot", [new_job()])
    again = api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job(), new_job()]})
    assert (again.status_code, again.json()["detail"]) == (409, "a batch named 'pilot' exists already")
    assert api.client.get("/v1/batches/pilot").json()["jobs"] == 1
    with transaction(api.sessions) as session:
        assert (rows.count(session, "batch"), rows.count(session, "job")) == (1, 1)


def test_a_name_that_differs_in_case_only_is_the_same_name(api: Api) -> None:
    """Folders are named after batches, and some file systems ignore case."""
    first = new_job()
    api.push_batch("Pilot", [first])
    taken = api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job(), new_job()]})
    assert (taken.status_code, taken.json()["detail"]) == (409, "a batch named 'Pilot' exists already")
    assert push_again(api, "PILOT", "same_name", first) == (200, "Pilot", True)
    assert api.client.get("/v1/batches/pilot").json()["name"] == "Pilot"
    assert len(api.client.get("/v1/jobs?batch=PILOT").json()["items"]) == 1


def push_again(api: Api, name: str, on_repeat: str, *jobs: dict[str, Any]) -> tuple[int, str, bool]:
    """Push jobs, and return the status, the name of the batch and whether it is an earlier one."""
    answer = api.client.post("/v1/batches", json={"name": name, "jobs": [*jobs], "on_repeat": on_repeat})
    found = answer.json()
    return answer.status_code, found.get("name", ""), found.get("repeated", False)


def test_a_repeated_push_is_recognised_by_its_jobs(api: Api) -> None:
    first, other = new_job(input={"duration": 6}), new_job(input={"duration": 8})
    api.push_batch("pilot", [first, other])
    implied = new_job()  # six seconds are the default
    assert push_again(api, "second", "same_jobs", implied, other) == (200, "pilot", True)
    assert push_again(api, "pilot", "same_name", first, other) == (200, "pilot", True)
    assert push_again(api, "pilot", "same_name", other, first)[0] == 409
    assert push_again(api, "third", "same_name", first, other) == (201, "third", False)
    assert push_again(api, "fourth", "same_jobs", first) == (201, "fourth", False)
    assert push_again(api, "fifth", "same_jobs", {**first, "client_ref": "a"}) == (201, "fifth", False)
    with transaction(api.sessions) as session:
        assert (rows.count(session, "batch"), rows.count(session, "job")) == (4, 6)


@pytest.mark.parametrize("same_name", [True, False])
def test_equal_pushes_at_once_buy_one_batch(api: Api, same_name: bool) -> None:
    names = ["pilot" if same_name else f"pilot-{number}" for number in range(8)]
    jobs = [new_job(input={"prompt": f"take {number}"}) for number in range(300)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: push_again(api, name, "same_jobs", *jobs), names))
    assert sorted(status for status, _, _ in answers) == [200] * 7 + [201]
    assert len({name for _, name, _ in answers}) == 1
    with transaction(api.sessions) as session:
        assert (rows.count(session, "batch"), rows.count(session, "job")) == (1, 300)


def test_own_ids_and_values_come_back_as_they_were_pushed(api: Api) -> None:
    metadata = {"scene": 3, "notes": ["naïve", None, "\\u0000"]}
    api.push_batch("pilot", [new_job(client_ref="TEST-001", metadata=metadata), new_job()])
    plain, own = api.client.get("/v1/jobs?batch=pilot").json()["items"]
    assert (own["client_ref"], own["metadata"]) == ("TEST-001", metadata)
    assert (plain["client_ref"], plain["metadata"]) == (None, None)


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"client_ref": ""}, "jobs.0.client_ref"),
        ({"client_ref": " "}, "jobs.0.client_ref"),
        ({"client_ref": "a\nb"}, "jobs.0.client_ref"),
        ({"client_ref": "x" * 201}, "jobs.0.client_ref"),
        ({"client_ref": 7}, "jobs.0.client_ref"),
        ({"metadata": {"a": "x" * 4096}}, "jobs.0.metadata"),
        ({"metadata": {"a": "\0"}}, "jobs.0.metadata"),
        ({"metadata": [1]}, "jobs.0.metadata"),
    ],
)
def test_own_values_that_cannot_be_stored_are_refused(api: Api, own: dict[str, Any], field: str) -> None:
    answer = api.client.post("/v1/batches", json={"name": "pilot", "jobs": [new_job(**own)]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_a_batch_is_found_by_name_and_by_id(api: Api) -> None:
    batch = api.push_batch("pilot", [new_job()])
    by_name = api.client.get("/v1/batches/pilot").json()
    by_id = api.client.get(f"/v1/batches/{batch['id']}").json()
    assert by_name["id"] == by_id["id"] == batch["id"]


def test_a_pushed_batch_is_shown_although_its_name_is_the_id_of_another(api: Api) -> None:
    first = api.push_batch("pilot", [new_job()])
    second = api.push_batch(first["id"], [new_job(), new_job()])
    assert (second["name"], second["jobs"]) == (first["id"], 2)


def test_progress_follows_from_the_jobs_and_their_purchases(api: Api) -> None:
    with transaction(api.sessions) as session:
        account_id = rows.add_account(session)
        batch_id = rows.insert(session, "batch", name="pilot", job_count=4, created_at=-100 * SECOND)
        place = {"batch_id": batch_id, "created_at": -100 * SECOND}
        done = rows.add_job(session, "succeeded", number=1, ended_at=-40 * SECOND, **place)
        rows.add_prediction(session, done, account_id, "failed")
        rows.add_prediction(session, done, account_id, "completed")
        rendering = rows.add_job(session, "rendering", number=2, **place)
        rows.add_prediction(session, rendering, account_id, "rendering")
        rows.add_job(session, "queued", number=3, **place)
        rows.add_job(session, "queued", number=4, **place)
    batch = api.client.get("/v1/batches/pilot").json()
    states = {"queued": 2, "rendering": 1, "storing": 0, "succeeded": 1, "failed": 0, "cancelled": 0}
    assert (batch["states"], batch["done"]) == (states, 1)
    assert batch["cost"] == {"estimated": "1.4400", "held": "0.3600", "spent": "0.3600"}
    assert batch["mean_seconds"] == 60.0
    assert 100 <= batch["elapsed_seconds"] < 160
    assert (batch["seconds_left"], batch["time_left_unknown"]) == (None, "no_dispatcher")
    (listed,) = api.client.get("/v1/batches").json()["items"]
    assert listed["seconds_left"] == pytest.approx(3 * listed["elapsed_seconds"], abs=0.01)


def test_a_batch_that_has_ended_tells_when(api: Api) -> None:
    with transaction(api.sessions) as session:
        batch_id = rows.insert(session, "batch", name="pilot", job_count=1, created_at=-100 * SECOND)
        rows.add_job(session, "failed", number=1, batch_id=batch_id, ended_at=-40 * SECOND)
    batch = api.client.get("/v1/batches/pilot").json()
    assert (batch["elapsed_seconds"], batch["seconds_left"], batch["done"]) == (60.0, 0.0, 1)
    assert batch["ended_at"]


def test_walking_the_pages_shows_every_batch_once_newest_first(api: Api) -> None:
    assert api.client.get("/v1/batches").json() == {"items": [], "next_cursor": None}
    for number in range(5):
        api.push_batch(f"batch-{number}", [new_job()])
    seen, cursor = [], ""
    while cursor is not None:
        page = api.client.get("/v1/batches", params={"limit": 2, "cursor": cursor}).json()
        seen += [batch["name"] for batch in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"batch-{number}" for number in (4, 3, 2, 1, 0)]


def test_an_estimate_sums_by_video_model_and_stores_nothing(api: Api) -> None:
    jobs = [new_job(), new_job(input={"duration": 10}), new_job(model="ltx-2-fast", input={"seed": 1})]
    assert api.client.post("/v1/estimate", json={"jobs": jobs}).json() == {
        "jobs": 3,
        "cost": "1.2000",
        "cost_by_model": {
            "lightricks/ltx-2-pro/text-to-video": "0.9600",
            "lightricks/ltx-2-fast/text-to-video": "0.2400",
        },
        "first_time_left": None,
        "time_left": None,
        "warnings": [{"message": "seed is not supported by ltx-2-fast: dropped", "jobs": 1}],
    }
    with transaction(api.sessions) as session:
        assert rows.count(session, "job") == 0


def test_the_catalogue_lists_every_video_model_with_its_parameters(api: Api) -> None:
    models = {model["name"]: model for model in api.client.get("/v1/catalog").json()["models"]}
    assert list(models) == ["ltx-2-pro", "ltx-2-pro-i2v", "ltx-2-fast", "ltx-2-fast-i2v", "ltx-2-retake"]
    assert models["ltx-2-pro"]["price_per_second"] == "0.0600"
    duration = next(each for each in models["ltx-2-pro"]["parameters"] if each["name"] == "duration")
    assert duration == {
        "name": "duration",
        "kind": "integer",
        "about": "seconds",
        "required": False,
        "default": 6,
        "choices": [6, 8, 10],
    }
