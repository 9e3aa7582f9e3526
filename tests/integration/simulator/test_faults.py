"""Every fault of the simulator, as a client sees it, and what it does to tasks and money."""

import gzip
import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import pytest
import requests

from sandbox.wavespeed.handle import Simulator
from sandbox.wavespeed.state.faults import CONTAINERS, PAGES
from sandbox.wavespeed.state.timestamps import NANOSECONDS, parse_time
from sandbox.wavespeed.videos import MEDIA_TYPES
from tests.support.simulator_client import PRO, TERMINAL, Api, wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator(speed=400, submits_per_minute=100_000) as simulator:
        yield simulator


@pytest.fixture
def bought(simulator: Simulator) -> Callable[[], int]:
    """How many tasks there are more than before this test. Each is charged."""
    before = len(simulator.tasks())
    return lambda: len(simulator.tasks()) - before


def is_json(answer: requests.Response) -> bool:
    try:
        answer.json()
    except ValueError:
        return False
    return True


def media_type_of(answer: requests.Response) -> str:
    return answer.headers["content-type"].partition(";")[0]


def list_streams(content: bytes) -> list[str]:
    """The kinds of the streams that a decoder finds; an image is a video of one frame to it."""
    try:
        with av.open(io.BytesIO(content)) as file:
            return [stream.type for stream in file.streams]
    except av.FFmpegError:
        return []


# submissions that are charged, but whose answer is lost


def test_submit_drop_loses_the_connection_after_the_purchase(api: Api, simulator: Simulator, bought: Any) -> None:
    simulator.set_fault("submit_drop", count=1)
    with pytest.raises(requests.ConnectionError):
        api.submit(prompt="dropped")
    assert bought() == 1
    assert simulator.tasks()[-1]["input"]["prompt"] == "dropped"
    api.buy()


def test_submit_504_is_a_page_of_the_gateway_after_the_purchase(api: Api, simulator: Simulator, bought: Any) -> None:
    simulator.set_fault("submit_504", count=1)
    answer = api.submit()
    assert (answer.status_code, is_json(answer)) == (504, False)
    assert bought() == 1


def test_submit_hang_gives_no_answer_after_the_purchase(api: Api, simulator: Simulator, bought: Any) -> None:
    simulator.set_fault("submit_hang", count=1)
    with pytest.raises(requests.ReadTimeout):
        api.session.post(f"{api.url}/api/v3/{PRO}", json={"prompt": "hung"}, timeout=0.3)
    wait_until(lambda: bought() == 1, "the task, which may be later than the time-out")


def test_a_hanging_answer_ends_in_a_lost_connection(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("submit_hang", delay=0.2, count=1)
    with pytest.raises(requests.ConnectionError):
        api.submit()


def test_submit_late_creates_the_task_after_the_504(api: Api, simulator: Simulator, bought: Any) -> None:
    simulator.set_fault("submit_late", delay=2.0, count=1)
    began = time.time()
    assert api.submit(prompt="late").status_code == 504
    assert bought() == 0 or time.time() - began >= 2.0
    wait_until(lambda: bought() == 1, "the task")
    task = simulator.tasks()[-1]
    assert task["input"]["prompt"] == "late"
    assert task["accepted"] - began >= 2.0


def test_submit_error_with_task_carries_the_task(api: Api, simulator: Simulator, bought: Any) -> None:
    simulator.set_fault("submit_error_with_task", status=502, count=1)
    answer = api.submit()
    assert (answer.status_code, answer.json()["code"]) == (502, 502)
    assert answer.json()["data"]["id"] == simulator.tasks()[-1]["id"]
    assert bought() == 1


@pytest.mark.parametrize(("form", "readable"), [("html", False), ("truncated", False), ("code", True)])
def test_submit_garbage_hides_the_purchase(
    api: Api, simulator: Simulator, bought: Any, form: str, readable: bool
) -> None:
    simulator.set_fault("submit_garbage", form=form, count=1)
    answer = api.submit()
    assert (answer.status_code, is_json(answer)) == (200, readable)
    if readable:
        assert (answer.json()["code"], answer.json()["data"]) == (500, None)
    assert bought() == 1


# submissions that buy nothing


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_submit_5xx_buys_nothing(api: Api, simulator: Simulator, bought: Any, status: int) -> None:
    simulator.set_fault("submit_5xx", status=status, count=1)
    assert api.submit().status_code == status
    assert bought() == 0


@pytest.mark.parametrize(("rule", "header"), [({}, None), ({"retry_after": 7}, "7")])
def test_submit_429_comes_with_and_without_retry_after(
    api: Api, simulator: Simulator, bought: Any, rule: dict[str, Any], header: str | None
) -> None:
    simulator.set_fault("submit_429", count=1, **rule)
    answer = api.submit()
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, header)
    assert bought() == 0


@pytest.mark.parametrize(("rule", "status"), [({}, 402), ({"status": 403}, 403), ({"status": 400}, 400)])
def test_no_credit_says_so_with_any_status(
    api: Api, simulator: Simulator, bought: Any, rule: dict[str, Any], status: int
) -> None:
    simulator.set_fault("no_credit", count=1, **rule)
    answer = api.submit()
    assert answer.status_code == status
    assert "Insufficient credits" in answer.json()["message"]
    assert bought() == 0


def test_submit_bad_code_is_a_200_that_bought_nothing(api: Api, simulator: Simulator, bought: Any) -> None:
    simulator.set_fault("submit_bad_code", code=1500, count=1)
    answer = api.submit()
    assert (answer.status_code, answer.json()["code"]) == (200, 1500)
    assert bought() == 0


def test_a_fault_strikes_only_the_prompt_it_names(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("submit_5xx", prompt="red")
    assert api.submit(prompt="a red cat").status_code == 503
    assert api.submit(prompt="a blue cat").status_code == 200


# reading


@pytest.mark.parametrize("path", ["/balance", "/webhook/secret"])
def test_get_5xx_strikes_reading_requests(api: Api, simulator: Simulator, path: str) -> None:
    simulator.set_fault("get_5xx", status=502, count=1)
    assert [api.get(path).status_code for _ in range(2)] == [502, 200]


def test_get_5xx_strikes_the_list_and_spares_submissions(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("get_5xx", status=500)
    api.buy()
    answer = api.post("/predictions", {"page": 1, "page_size": 10})
    assert (answer.status_code, answer.json()["code"]) == (500, 500)


def test_a_reading_fault_can_be_kept_to_one_kind(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("get_5xx", kind="list")
    assert api.get("/balance").status_code == 200
    assert api.post("/predictions", {"page": 1, "page_size": 10}).status_code == 503


def test_get_429_comes_with_retry_after_when_asked(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("get_429", retry_after=3, count=1)
    answer = api.get("/balance")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")


def test_get_hang_gives_no_answer(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("get_hang", count=1)
    with pytest.raises(requests.ReadTimeout):
        api.get("/balance", timeout=0.3)
    assert api.get("/balance").ok


@pytest.mark.parametrize(("form", "readable"), [("html", False), ("truncated", False), ("code", True)])
def test_get_garbage_is_a_200_of_no_use(api: Api, simulator: Simulator, form: str, readable: bool) -> None:
    task_id = api.buy()["id"]
    simulator.set_fault("get_garbage", form=form, count=1)
    answer = api.get(f"/predictions/{task_id}/result")
    assert (answer.status_code, is_json(answer)) == (200, readable)
    if readable:
        assert answer.json()["code"] == 500
    api.get_task(task_id)


@pytest.mark.parametrize("status", [401, 403])
def test_key_rejected_strikes_the_right_key(api: Api, simulator: Simulator, bought: Any, status: int) -> None:
    simulator.set_fault("key_rejected", status=status)
    for answer in (api.get("/balance"), api.submit()):
        assert (answer.status_code, answer.json()["code"]) == (status, status)
    if status == 403:
        assert "role" in answer.json()["message"]
    assert bought() == 0


# any request


def test_slow_answer_takes_its_time(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("slow_answer", delay=0.5, count=1)
    began = time.monotonic()
    assert api.get("/balance").ok
    assert time.monotonic() - began >= 0.5


def test_drip_answer_sends_the_body_in_small_pieces(api: Api, simulator: Simulator) -> None:
    address = f"/predictions/{api.wait(api.buy()['id'])['id']}/result"
    whole = api.get(address).json()

    def read_the_body() -> float:
        """How long it took; less where this machine stood still between the headers and the first piece."""
        simulator.set_fault("drip_answer", delay=0.6, count=1)
        with api.get(address, stream=True) as answer:
            began = time.monotonic()
            pieces = list(answer.raw.stream(10**6))
        assert len(b"".join(pieces)) == int(answer.headers["content-length"])
        return time.monotonic() - began

    wait_until(lambda: read_the_body() >= 0.5, "a body in pieces")
    assert api.get(address).json() == whole


def test_outage_drops_everything_but_the_control_api(api: Api, simulator: Simulator) -> None:
    [url] = api.wait(api.buy()["id"])["outputs"]
    simulator.set_fault("outage")
    for attempt in (lambda: api.get("/balance"), api.submit, lambda: requests.get(url, timeout=60)):
        with pytest.raises(requests.ConnectionError):
            attempt()


def test_outage_can_answer_with_a_status_and_ends(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("outage", status=503)
    assert api.get("/balance").status_code == 503
    simulator.clear_fault("outage")
    assert api.get("/balance").ok


# how tasks end


@pytest.mark.parametrize(
    ("fault", "rule", "expected"),
    [
        ("task_failed", {}, {"status": "failed", "code": 5000, "outputs": []}),
        (
            "task_failed",
            {"code": 1402, "text": "no such image"},
            {"status": "failed", "code": 1402, "error": "no such image"},
        ),
        ("task_moderated", {}, {"status": "failed", "code": 1200, "outputs": []}),
        ("task_cancelled", {}, {"status": "cancelled", "outputs": []}),
        ("task_timeout", {}, {"status": "timeout", "outputs": []}),
        ("task_deleted", {}, {"status": "deleted", "outputs": []}),
        ("task_without_outputs", {}, {"status": "completed", "outputs": [], "error": ""}),
    ],
)
def test_tasks_end_as_the_fault_says(
    api: Api, simulator: Simulator, fault: str, rule: dict[str, Any], expected: dict[str, Any]
) -> None:
    simulator.set_fault(fault, count=1, **rule)
    task = api.wait(api.buy()["id"])
    assert {key: task.get(key) for key in expected} == expected
    assert requests.get(f"{api.url}/output/{task['id']}.mp4", timeout=60).status_code == 404


def test_an_unknown_status_stays(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("task_unknown_status", text="quarantined", count=1)
    task_id = api.buy()["id"]
    wait_until(lambda: api.get_task(task_id)["status"] == "quarantined", "the status")
    assert [each["money"] for each in simulator.tasks() if each["id"] == task_id] == ["held"]


def test_an_unknown_status_can_also_come_on_the_way(api: Api, simulator: Simulator) -> None:
    def follow() -> list[str]:
        simulator.set_fault("task_unknown_progress", count=1)
        simulator.set_fault("task_slow", delay=1.0, count=1)
        task_id = api.buy()["id"]
        seen: list[str] = []
        wait_until(lambda: seen.append(api.get_task(task_id)["status"]) or seen[-1] in TERMINAL, "its end")
        return [*dict.fromkeys(seen)][-2:]

    wait_until(lambda: follow() == ["pending", "completed"], "a task that was seen before its end")


def test_task_slow_sets_the_render_time(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("task_slow", delay=0.7, count=1)
    task = api.wait(api.buy()["id"])
    assert task["executionTime"] == pytest.approx(700, abs=2)


# the list


def test_list_lag_hides_young_tasks(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("list_lag", delay=2.0)
    began = time.time()
    task_id = api.buy()["id"]
    assert task_id not in [item["id"] for item in api.list()] or time.time() - began >= 2.0
    wait_until(lambda: task_id in [item["id"] for item in api.list()], "the task in the list")
    task = next(each for each in simulator.tasks() if each["id"] == task_id)
    created = parse_time(task["created_at"])  # cut short, and what the list goes by
    assert created is not None
    assert time.time_ns() - created >= 2 * NANOSECONDS


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("list_without_inputs", None),
        ("list_inputs_reordered", [("prompt", "a cat on a wall"), ("duration", 8)]),
        ("list_inputs_with_defaults", [("prompt", "a cat on a wall"), ("duration", 8), ("generate_audio", True)]),
        ("none", [("duration", 8), ("prompt", "a cat on a wall")]),
    ],
)
def test_inputs_of_the_list_come_in_many_forms(
    api: Api, simulator: Simulator, fault: str, expected: list[tuple[str, Any]] | None
) -> None:
    task_id = api.post(f"/{PRO}", {"duration": 8, "prompt": "a cat on a wall"}).json()["data"]["id"]
    if fault != "none":
        simulator.set_fault(fault)
    item = next(each for each in api.list(include_inputs=True) if each["id"] == task_id)
    assert (list(item["inputs"].items()) if "inputs" in item else None) == expected


def test_inputs_of_the_list_can_have_the_other_key(api: Api, simulator: Simulator) -> None:
    task_id = api.buy()["id"]
    simulator.set_fault("list_inputs_as_input")
    item = next(each for each in api.list(include_inputs=True) if each["id"] == task_id)
    assert item["input"] == {"prompt": "a cat on a wall"}
    assert "inputs" not in item


def test_results_and_the_list_can_show_the_address_of_the_webhook(api: Api, simulator: Simulator) -> None:
    address = "http://127.0.0.1:9/hook"
    task_id = api.buy(query={"webhook": address})["id"]
    without = api.buy()["id"]
    assert "webhook" not in api.get_task(task_id)
    simulator.set_fault("show_webhook")
    assert api.get_task(task_id)["webhook"] == address
    assert "webhook" not in api.get_task(without)
    simulator.set_fault("show_webhook", text="webhook_url")
    assert [each["webhook_url"] for each in api.list() if each["id"] == task_id] == [address]


# downloads


@pytest.fixture
def video(api: Api) -> str:
    return str(api.wait(api.buy()["id"])["outputs"][0])


def test_download_cut_ends_early(simulator: Simulator, video: str) -> None:
    whole = requests.get(video, timeout=60).content
    simulator.set_fault("download_cut", fraction=0.25, count=1)
    answer = requests.get(video, stream=True, timeout=60)
    assert int(answer.headers["content-length"]) == len(whole)
    pieces: list[bytes] = []
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        pieces.extend(answer.iter_content(1_000))
    got = b"".join(pieces)
    assert got == whole[: len(got)]
    assert len(whole) * 0.25 - 1_000 <= len(got) <= len(whole) * 0.25
    assert requests.get(video, timeout=60).content == whole


def test_a_cut_download_can_be_finished_with_a_range(simulator: Simulator, video: str) -> None:
    whole = requests.get(video, timeout=60).content
    simulator.set_fault("download_cut", fraction=0.5, count=1)
    rest = requests.get(video, headers={"Range": "bytes=100-"}, stream=True, timeout=60)
    assert rest.status_code == 206
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = rest.content
    assert requests.get(video, headers={"Range": "bytes=100-"}, timeout=60).content == whole[100:]


def test_download_slow_takes_its_time(simulator: Simulator, video: str) -> None:
    whole = requests.get(video, timeout=60).content
    simulator.set_fault("download_slow", delay=0.6, count=1)
    began = time.monotonic()
    assert requests.get(video, timeout=60).content == whole
    assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize(
    ("fault", "rule", "status"),
    [("download_expired", {}, 404), ("download_expired", {"status": 403}, 403), ("download_5xx", {}, 503)],
)
def test_a_download_can_be_refused(
    simulator: Simulator, video: str, fault: str, rule: dict[str, Any], status: int
) -> None:
    simulator.set_fault(fault, count=1, **rule)
    assert requests.get(video, timeout=60).status_code == status


@pytest.mark.parametrize(
    ("rule", "media_type"),
    [
        ({}, "text/html"),
        ({"form": "html"}, "text/html"),
        ({"form": "json"}, "application/json"),
        ({"form": "xml"}, "application/xml"),
    ],
)
def test_download_garbage_is_a_page_with_a_new_request_id(
    simulator: Simulator, video: str, rule: dict[str, Any], media_type: str
) -> None:
    simulator.set_fault("download_garbage", **rule)
    answers = [requests.get(video, timeout=60) for _ in range(2)]
    assert [each.status_code for each in answers] == [200, 200]
    assert [media_type_of(each) for each in answers] == [media_type] * 2
    assert answers[0].content != answers[1].content


@pytest.mark.parametrize("form", PAGES)
def test_download_garbage_can_be_the_same_page_for_all(api: Api, simulator: Simulator, video: str, form: str) -> None:
    [other] = api.wait(api.buy()["id"])["outputs"]
    simulator.set_fault("download_garbage", form=form, same=True)
    pages = {requests.get(url, timeout=60).content for url in (video, video, other)}
    assert len(pages) == 1


@pytest.mark.parametrize(
    ("form", "media_type"),
    [("noise", "video/mp4"), ("image", "image/png"), ("audio", "audio/mp4"), ("text", "text/plain")],
)
def test_download_other_is_no_video_and_always_the_same_for_a_task(
    api: Api, simulator: Simulator, video: str, form: str, media_type: str
) -> None:
    [another] = api.wait(api.buy()["id"])["outputs"]
    simulator.set_fault("download_other", form=form)
    answer, again, other = (requests.get(url, timeout=60) for url in (video, video, another))
    assert (answer.status_code, media_type_of(answer)) == (200, media_type)
    assert answer.content == again.content != other.content
    assert list_streams(answer.content) == {"image": ["video"], "audio": ["audio"]}.get(form, [])


def test_download_empty_has_no_byte(simulator: Simulator, video: str) -> None:
    simulator.set_fault("download_empty", count=1)
    answer = requests.get(video, timeout=60)
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "0", b"")


def test_download_truncated_is_a_whole_answer_of_a_part_of_the_file(simulator: Simulator, video: str) -> None:
    whole = requests.get(video, timeout=60).content
    simulator.set_fault("download_truncated", fraction=0.25, count=1)
    answer = requests.get(video, timeout=60)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
    assert int(answer.headers["content-length"]) == len(answer.content) == len(whole) // 4
    assert answer.content == whole[: len(whole) // 4]
    assert requests.get(video, timeout=60).content == whole


def test_download_gzip_comes_although_nobody_asked_for_it(simulator: Simulator, video: str) -> None:
    whole = requests.get(video, timeout=60).content
    simulator.set_fault("download_gzip", count=1)
    answer = requests.get(video, headers={"Accept-Encoding": "identity"}, stream=True, timeout=60)
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
    sent = answer.raw.read(decode_content=False)
    assert (len(sent), gzip.decompress(sent)) == (int(answer.headers["content-length"]), whole)


def test_download_partial_is_the_whole_file_with_206(simulator: Simulator, video: str) -> None:
    whole = requests.get(video, timeout=60).content
    simulator.set_fault("download_partial", count=1)
    answer = requests.get(video, timeout=60)
    assert (answer.status_code, answer.content) == (206, whole)
    assert answer.headers["content-range"] == f"bytes 0-{len(whole) - 1}/{len(whole)}"


@pytest.mark.parametrize("container", CONTAINERS)
def test_download_container_is_the_video_in_another_container(simulator: Simulator, video: str, container: str) -> None:
    simulator.set_fault("download_container", form=container)
    answer, again = (requests.get(video, timeout=60) for _ in range(2))
    assert (answer.status_code, media_type_of(answer)) == (200, MEDIA_TYPES[container])
    assert answer.content == again.content
    with av.open(io.BytesIO(answer.content)) as file:
        assert container in file.format.name
        assert next(file.decode(video=0)).width == 1920


def test_download_hang_gives_no_answer(simulator: Simulator, video: str) -> None:
    simulator.set_fault("download_hang", count=1)
    with pytest.raises(requests.ReadTimeout):
        requests.get(video, timeout=0.3)


# switching


def test_the_same_seed_strikes_the_same_requests() -> None:
    def play(seed: int) -> list[int]:
        with Simulator(seed=seed, faults={"get_5xx": 0.5}) as simulator:
            api = Api(simulator)
            return [api.get("/balance").status_code for _ in range(30)]

    assert play(3) == play(3)
    assert set(play(3)) == {200, 503}


def test_faults_are_listed_with_their_hits_and_switched_off_by_name(api: Api, simulator: Simulator) -> None:
    simulator.set_fault("get_5xx", status=502)
    simulator.set_fault("submit_504", probability=0)
    api.get("/balance")
    assert simulator.faults() == {
        "get_5xx": {"status": 502, "fired": 1},
        "submit_504": {"probability": 0.0, "fired": 0},
    }
    simulator.clear_fault("get_5xx")
    assert list(simulator.faults()) == ["submit_504"]
    simulator.clear_faults()
    assert simulator.faults() == {}
    assert api.get("/balance").ok
