"""The simulator against the documented contract of the provider, fact by fact."""

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import av
import pytest
import requests

from rushes.catalog import VIDEO_MODELS
from sandbox.wavespeed.handle import Simulator
from tests.support.simulator_client import FAST, PRO, RETAKE, Api, wait_until


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(speed=400, submits_per_minute=10_000) as running:
        yield running


@pytest.fixture
def still_running(simulator: Simulator) -> Iterator[None]:
    """Renders begun in this test do not end in it."""
    simulator.set_fault("task_slow", delay=3_600)
    yield
    simulator.clear_faults()


# envelope and keys


def test_every_answer_is_an_envelope(api: Api) -> None:
    answer = api.get("/balance").json()
    assert set(answer) == {"code", "message", "data"}
    assert (answer["code"], answer["message"]) == (200, "success")


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "the-key"}, {"Authorization": "k"}]
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/balance"), ("POST", f"/{PRO}"), ("POST", "/predictions")])
def test_a_request_without_the_right_key_is_refused(
    simulator: Simulator, headers: dict[str, str], method: str, path: str
) -> None:
    answer = requests.request(method, f"{simulator.url}/api/v3{path}", headers=headers, json={}, timeout=60)
    assert answer.status_code == 401
    assert answer.json()["code"] == 401
    assert simulator.api_key not in answer.text


# submissions


@pytest.mark.usefixtures("still_running")
def test_a_submission_is_answered_with_a_created_task(api: Api) -> None:
    answer = api.submit(duration=8)
    assert answer.status_code == 200
    task = answer.json()["data"]
    assert re.fullmatch(r"[0-9a-f]{32}", task["id"])
    assert task == {
        "id": task["id"],
        "model": PRO,
        "outputs": [],
        "urls": {"get": f"{api.url}/api/v3/predictions/{task['id']}/result"},
        "has_nsfw_contents": [],
        "status": "created",
        "created_at": task["created_at"],
        "error": "",
        "executionTime": 0,
        "timings": {"inference": 0},
    }


def test_even_an_instant_render_is_answered_as_created(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("task_slow", delay=0, count=1)
    task = api.buy()
    assert task["status"] == "created"
    assert api.get_task(task["id"])["status"] == "completed"


@pytest.mark.usefixtures("still_running")
def test_created_at_has_fractions_of_many_lengths(api: Api) -> None:
    texts = [api.buy()["created_at"] for _ in range(80)]
    lengths = {len(text.removesuffix("Z").partition(".")[2]) for text in texts}
    assert lengths <= set(range(10))
    assert len(lengths) >= 5
    now = datetime.now(UTC)
    assert all(abs(datetime.fromisoformat(text[:19] + "+00:00") - now) < timedelta(minutes=5) for text in texts)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (PRO, {"duration": 7}, "duration must be one of [6, 8, 10]"),
        (FAST, {"duration": 7}, "duration must be one of [6, 8, 10, 12, 14, 16, 18, 20]"),
        (PRO, {"prompt": "x" * 5_001}, "prompt must be at most 5000 characters"),
        (PRO, {"prompt": None}, "prompt is required"),
        (RETAKE, {"video": "https://files/in.mp4"}, "end_time is required"),
        ("lightricks/ltx-2-retake/text-to-video", {}, "Model not found"),
        ("ltx-2-pro", {}, "Model not found"),
        ("predictions/cancel", {}, "Model not found"),
        ("upload", {}, "Model not found"),
        ("predictions/delete", {}, "Model not found"),
    ],
)
def test_bad_submissions_and_unknown_paths_are_400(api: Api, model: str, inputs: dict[str, Any], message: str) -> None:
    answer = api.submit(model, **inputs)
    assert answer.status_code == 400
    assert answer.json() == {"code": 400, "message": message, "data": None}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_bodies_that_are_no_objects_are_400(api: Api, body: bytes) -> None:
    answer = api.session.post(f"{api.url}/api/v3/{PRO}", data=body, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["code"] == 400


def test_unknown_keys_are_ignored(api: Api, simulator: Simulator) -> None:
    task = api.buy(colour="red", duration=6)
    assert "colour" not in next(each for each in simulator.tasks() if each["id"] == task["id"])["input"]


def test_every_model_of_the_catalogue_can_be_bought(api: Api) -> None:
    extra = {"image": "https://files/cat.png", "video": "https://files/cat.mp4", "start_time": 1, "end_time": 4.5}
    for model in VIDEO_MODELS:
        inputs = {name: value for name, value in extra.items() if model.parameter(name)}
        assert api.wait(api.buy(model.id, **inputs)["id"])["status"] == "completed"


# results


def test_a_task_goes_through_its_statuses_to_a_result(api: Api, simulator: Simulator) -> None:
    def follow() -> tuple[list[str], dict[str, Any]] | None:
        """What was seen of a task; None where it had ended before the first check."""
        simulator.set_fault("task_slow", delay=1.0, count=1)
        task_id = api.buy()["id"]
        seen: list[str] = []
        wait_until(lambda: seen.append(api.get_task(task_id)["status"]) or seen[-1] == "completed", "completion")
        return ([*dict.fromkeys(seen)], api.get_task(task_id)) if len(set(seen)) > 1 else None

    seen, task = wait_until(follow, "a task that was seen running")
    assert seen in (["created", "processing", "completed"], ["processing", "completed"])
    assert (task["error"], task["has_nsfw_contents"], len(task["outputs"])) == ("", [False], 1)
    assert 950 <= task["executionTime"] <= 1_050
    assert 0 < task["timings"]["inference"] <= task["executionTime"]


def test_both_result_paths_show_the_same_object(api: Api) -> None:
    task_id = api.buy()["id"]
    finished = api.wait(task_id)
    assert api.get(f"/predictions/{task_id}").json()["data"] == finished


def test_addresses_point_to_where_the_request_came(api: Api) -> None:
    task_id = api.buy()["id"]
    api.wait(task_id)
    answer = api.get(f"/predictions/{task_id}/result", headers={"Host": "provider.test:8443"})
    task = answer.json()["data"]
    assert task["urls"]["get"] == f"http://provider.test:8443/api/v3/predictions/{task_id}/result"
    assert task["outputs"] == [f"http://provider.test:8443/output/{task_id}.mp4"]


def test_an_unknown_prediction_is_404(api: Api) -> None:
    answer = api.get(f"/predictions/{'0' * 32}/result")
    assert (answer.status_code, answer.json()["code"]) == (404, 404)


def test_an_unknown_get_is_404(api: Api) -> None:
    assert api.get("/nothing").status_code == 404


# the list


@pytest.mark.usefixtures("still_running")
def test_the_list_is_newest_first_with_inputs_when_asked(api: Api) -> None:
    ids = [api.buy(prompt=f"number {number}")["id"] for number in range(3)]
    items = api.list(page_size=3, include_inputs=True)
    assert {item["id"] for item in items} == set(ids)
    assert {item["inputs"]["prompt"] for item in items} == {"number 0", "number 1", "number 2"}
    assert [item["created_at"][:19] for item in items] == sorted(
        (item["created_at"][:19] for item in items), reverse=True
    )
    assert all("inputs" not in item for item in api.list(page_size=3))


@pytest.mark.usefixtures("still_running")
def test_the_list_answers_page_and_items_and_no_total(api: Api) -> None:
    api.buy()
    data = api.post("/predictions", {"page": 1, "page_size": 1}).json()["data"]
    assert set(data) == {"page", "items"}
    assert data["page"] == 1
    assert set(data["items"][0]) == {
        "id",
        "model",
        "outputs",
        "urls",
        "status",
        "created_at",
        "error",
        "executionTime",
        "timings",
        "has_nsfw_contents",
    }


@pytest.mark.usefixtures("still_running")
def test_the_window_of_the_list_includes_both_ends(api: Api) -> None:
    tasks = [api.buy() for _ in range(3)]
    middle = tasks[1]
    listed = api.list(created_after=middle["created_at"], created_before=middle["created_at"])
    assert middle["id"] in [item["id"] for item in listed]
    assert all(item["created_at"][:19] == middle["created_at"][:19] for item in listed)
    assert api.list(created_before="2020-01-01T00:00:00Z") == []
    assert api.list(created_after="2100-01-01T00:00:00Z") == []


@pytest.mark.usefixtures("still_running")
def test_the_list_filters_by_model_and_status(api: Api) -> None:
    fast = api.buy(FAST)
    assert fast["id"] in [item["id"] for item in api.list(model=FAST)]
    assert {item["model"] for item in api.list(model=FAST)} == {FAST}
    wait_until(lambda: fast["id"] in [item["id"] for item in api.list(status="processing")], "processing")
    assert fast["id"] not in [item["id"] for item in api.list(status="completed")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "page is required"),
        ({"page": 1}, "page_size is required"),
        ({"page": 0, "page_size": 10}, "page must be at least 1"),
        ({"page": 1, "page_size": 0}, "page_size must be between 1 and 100"),
        ({"page": 1, "page_size": 101}, "page_size must be between 1 and 100"),
        ({"page": "1", "page_size": 10}, "page must be an integer"),
        ({"page": 1, "page_size": 10, "created_after": "yesterday"}, "created_after must be an ISO 8601 time"),
        ({"page": 1, "page_size": 10, "model": 5}, "model must be a string"),
    ],
)
def test_a_wrong_query_of_the_list_is_400(api: Api, query: dict[str, Any], message: str) -> None:
    answer = api.post("/predictions", query)
    assert (answer.status_code, answer.json()["message"]) == (400, message)


# money


def test_the_balance_follows_the_prices(api: Api) -> None:
    before = api.get("/balance").json()["data"]["balance"]
    api.wait(api.buy(duration=10)["id"])
    assert api.get("/balance").json()["data"] == {"balance": pytest.approx(before - 0.60)}


# the secret


def test_the_webhook_secret_has_its_prefix(api: Api) -> None:
    secret = api.get("/webhook/secret").json()["data"]["secret"]
    assert secret.startswith("whsec_")
    assert secret == api.get("/webhook/secret").json()["data"]["secret"]


# outputs


def test_the_video_is_what_was_asked_for_and_needs_no_key(api: Api) -> None:
    task = api.wait(api.buy(FAST, prompt="ein Fuchs 🦊 im Schnee", duration=14)["id"])
    answer = requests.get(task["outputs"][0], timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with av.open(io.BytesIO(answer.content)) as file:
        video = file.streams.video[0]
        assert (video.codec_context.name, video.width, video.height) == ("h264", 1920, 1080)
        assert [stream.codec_context.name for stream in file.streams.audio] == ["aac"]
        assert abs(file.duration / av.time_base - 14) < 0.1


def test_a_retake_is_as_long_as_its_region(api: Api) -> None:
    task = api.buy(RETAKE, video="https://files/in.mp4", start_time=1.5, end_time=4)
    content = requests.get(api.wait(task["id"])["outputs"][0], timeout=60).content
    with av.open(io.BytesIO(content)) as file:
        assert abs(file.duration / av.time_base - 2.5) < 0.1


def test_ranges_of_a_video_fit_together(api: Api) -> None:
    [url] = api.wait(api.buy()["id"])["outputs"]
    whole = requests.get(url, timeout=60)
    half = len(whole.content) // 2
    first = requests.get(url, headers={"Range": f"bytes=0-{half - 1}"}, timeout=60)
    rest = requests.get(url, headers={"Range": f"bytes={half}-", "If-Range": whole.headers["etag"]}, timeout=60)
    assert (first.status_code, rest.status_code) == (206, 206)
    assert rest.headers["content-range"] == f"bytes {half}-{len(whole.content) - 1}/{len(whole.content)}"
    assert first.content + rest.content == whole.content
    assert requests.get(url, headers={"Range": "bytes=999999999-"}, timeout=60).status_code == 416


def test_a_head_request_tells_the_size_without_the_bytes(api: Api) -> None:
    [url] = api.wait(api.buy()["id"])["outputs"]
    head = requests.head(url, timeout=60)
    assert head.content == b""
    assert int(head.headers["content-length"]) == len(requests.get(url, timeout=60).content)


@pytest.mark.usefixtures("still_running")
def test_there_is_no_video_before_the_end(api: Api) -> None:
    task = api.buy()
    assert requests.get(f"{api.url}/output/{task['id']}.mp4", timeout=60).status_code == 404
    assert requests.get(f"{api.url}/output/{'0' * 32}.mp4", timeout=60).status_code == 404


# the control API


def test_requests_are_counted_by_kind(api: Api, simulator: Simulator) -> None:
    def counts() -> dict[str, int]:
        return simulator.stats()["requests"]

    before = counts()
    task_id = api.buy()["id"]
    [url] = api.wait(task_id)["outputs"]
    requests.get(url, timeout=60)
    api.list()
    for path in ("/balance", "/webhook/secret"):
        api.get(path)
    api.post(f"/{PRO}", {"prompt": ""})
    after = counts()
    expected = {"submit": 2, "download": 1, "list": 1, "balance": 1, "secret": 1}
    assert {kind: after[kind] - before.get(kind, 0) for kind in expected} == expected
    assert after["result"] > before.get("result", 0)
    assert "control" not in after


def test_stats_tell_accepted_refused_and_ended(api: Api, simulator: Simulator) -> None:
    before = simulator.stats()
    task_id = api.buy()["id"]
    api.submit(duration=7)
    api.wait(task_id)
    after = simulator.stats()
    assert after["accepted"] == before["accepted"] + 1
    assert after["refused"]["400"] == before["refused"].get("400", 0) + 1
    assert after["ended"]["completed"] > before["ended"].get("completed", 0)


def test_tasks_tell_what_no_client_may_see(api: Api, simulator: Simulator) -> None:
    task_id = api.buy(duration=8, prompt="seen")["id"]
    api.wait(task_id)
    task = next(each for each in simulator.tasks() if each["id"] == task_id)
    assert (task["input"], task["price"], task["status"]) == ({"prompt": "seen", "duration": 8}, "0.4800", "completed")
    assert task["accepted"] == task["started"] < task["ended"]
    assert simulator.times()[-1] == (task_id, task["accepted"], task["started"], task["ended"])


def test_wrong_orders_to_the_control_api_are_refused(simulator: Simulator) -> None:
    for path, body in (
        ("/sim/faults", {"nonsense": 1}),
        ("/sim/faults", {"get_5xx": {"status": 7}}),
    ):
        answer = requests.put(simulator.url + path, json=body, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (400, 400)
