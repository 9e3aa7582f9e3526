"""Jobs over HTTP: pushed, shown, listed, cancelled and retried, against a real Postgres."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from models.db.session import WAKE_CHANNEL, transaction
from models.transitions.accounts import ensure_account
from models.transitions.leadership import lead
from tests.support import rows
from tests.support.access import BY
from tests.support.api_server import PROMPT, Api, Json, fields_of, new_job


def walk(api: Api, path: str, **query: Any) -> list[Json]:
    """Every item of a listing, page by page."""
    items, cursor = [], ""
    while cursor is not None:
        page = api.client.get(path, params={**query, "cursor": cursor}).raise_for_status().json()
        items += page["items"]
        cursor = page["next_cursor"]
    return items


def test_a_pushed_job_is_stored_with_the_catalogues_defaults(api: Api) -> None:
    pushed = api.client.post("/v1/jobs", json=new_job(priority=7, max_attempts=2))
    job = pushed.json()
    assert pushed.status_code == 201
    assert job["input"] == {"prompt": PROMPT, "duration": 6, "generate_audio": True}
    assert (job["model"], job["state"], job["priority"], job["max_attempts"]) == ("ltx-2-pro", "queued", 7, 2)
    assert (job["price"], job["cost"], job["attempts"]) == ("0.3600", {"held": "0.0000", "spent": "0.0000"}, 0)
    assert (job["batch"], job["number"], job["video"], job["error"], job["warnings"]) == (None, None, None, None, [])
    shown = api.client.get(pushed.headers["location"]).json()
    del job["warnings"]
    assert shown["wait"]["reason"] == "dispatcher"
    assert shown == {
        **job,
        "progress": 0.0,
        "wait": shown["wait"],
        "time_left_unknown": "no_dispatcher",
        "waits_for": "no dispatcher is at work: start a worker",
    }


def test_a_dropped_parameter_is_warned_of(api: Api) -> None:
    job = api.push(model="lightricks/ltx-2-fast/text-to-video", input={"seed": 7, "negative_prompt": "rain"})
    assert job["input"] == {"prompt": PROMPT, "duration": 6, "generate_audio": True}
    assert job["warnings"] == [
        "seed is not supported by ltx-2-fast: dropped",
        "negative_prompt is not supported by ltx-2-fast: dropped",
    ]


def test_a_push_wakes_the_dispatcher(api: Api, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute(f"LISTEN {WAKE_CHANNEL}")
        api.push()
        assert [note.channel for note in listener.notifies(timeout=60, stop_after=1)] == [WAKE_CHANNEL]


def test_a_job_shows_its_purchases_its_money_and_its_failure(api: Api) -> None:
    with transaction(api.sessions) as session:
        account_id = rows.add_account(session)
        job_id = rows.add_job(session, "failed", error_code="nsfw", error_message="the provider refused the prompt")
        for state in ("refused", "failed", "lost"):
            rows.add_prediction(session, job_id, account_id, state, error_code=state)
    job = api.client.get(f"/v1/jobs/{job_id}").json()
    assert [(each["attempt"], each["state"]) for each in job["predictions"]] == [
        (1, "refused"),
        (2, "failed"),
        (3, "lost"),
    ]
    assert job["predictions"][1]["error"] == {"code": "failed", "message": ""}
    assert job["predictions"][2]["provider_id"]
    assert (job["attempts"], job["cost"]) == (2, {"held": "0.0000", "spent": "0.3600"})
    assert job["error"] == {"code": "nsfw", "message": "the provider refused the prompt"}
    assert job["waits_for"] is None


def test_a_queued_job_shows_its_place_and_when_it_is_expected_to_start(api: Api) -> None:
    with transaction(api.sessions) as session:
        account = ensure_account(session, "default", slots=1, submits_per_minute=2)
        lead(session, "worker-1", lease=timedelta(minutes=1))
        rows.add_render(session, "rendering", account_id=account)
    job = [api.push() for _ in range(2)][1]
    shown = api.client.get(f"/v1/jobs/{job['id']}").json()
    assert shown["waits_for"] == "waits for a slot: 1 of 1 slots; it is number 2 in the queue"
    assert (shown["wait"]["reason"], shown["wait"]["place"]) == ("slot", 2)
    assert shown["wait"]["starts_at"] > shown["created_at"]


def test_walking_the_pages_shows_every_job_once_while_others_are_pushed(api: Api) -> None:
    pushed = [api.push()["id"] for _ in range(7)]
    seen, cursor = [], ""
    while cursor is not None:
        page = api.client.get("/v1/jobs", params={"limit": 3, "cursor": cursor}).json()
        seen += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
        api.push()
    assert seen == pushed[::-1]


def test_a_page_that_ends_with_the_last_job_has_no_next_one(api: Api) -> None:
    api.push()
    api.push()
    assert api.client.get("/v1/jobs?limit=2").json()["next_cursor"] is None


def test_filters_choose_jobs_by_state_batch_and_video_model(api: Api) -> None:
    single = api.push(model="ltx-2-fast")["id"]
    batch = api.push_batch("pilot", [new_job(), new_job(model="ltx-2-fast")])
    cancelled = walk(api, "/v1/jobs", batch="pilot", model="ltx-2-pro")[0]["id"]
    api.client.post(f"/v1/jobs/{cancelled}/cancel").raise_for_status()
    second = walk(api, "/v1/jobs", batch="pilot", state="queued")[0]["id"]

    def chosen(**query: Any) -> set[str]:
        return {job["id"] for job in walk(api, "/v1/jobs", **query)}

    assert chosen() == {single, cancelled, second}
    assert chosen(state="", batch="", model="") == {single, cancelled, second}
    assert chosen(state="queued") == {single, second}
    assert chosen(batch="pilot") == chosen(batch=batch["id"]) == {cancelled, second}
    assert chosen(model="ltx-2-fast") == chosen(model="lightricks/ltx-2-fast/text-to-video") == {single, second}
    assert chosen(batch="pilot", model="ltx-2-fast", state="queued") == {second}
    assert chosen(state="storing") == set()
    assert chosen(state=["cancelled", "storing", "cancelled"]) == {cancelled}
    assert chosen(state=["queued", "cancelled"]) == {single, cancelled, second}
    assert chosen(ids=[single, "pilot/2"]) == {single, second}
    cancelled_at = api.client.get(f"/v1/jobs/{cancelled}").json()["ended_at"]
    assert chosen(ended_after=cancelled_at) == {cancelled}
    assert chosen(ended_before=cancelled_at) == set()
    assert chosen(created_after=batch["created_at"], created_before=cancelled_at) == {cancelled, second}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sort", ["created", "age", "ended", "cost"])
def test_a_list_is_paged_in_the_order_that_was_asked_for(api: Api, sort: str, reverse: bool) -> None:
    cheap, dear = (api.push(input={"duration": seconds})["id"] for seconds in (6, 10))
    for job in (dear, cheap):
        api.client.post(f"/v1/jobs/{job}/cancel").raise_for_status()
    expected = [cheap, dear] if (sort in {"age", "ended"}) != reverse else [dear, cheap]
    assert [job["id"] for job in walk(api, "/v1/jobs", sort=sort, reverse=reverse, limit=1)] == expected


@pytest.mark.parametrize(("given", "used"), [("created", "ended"), ("ended", "cost"), ("cost", "ended"), ("cost", "")])
def test_the_cursor_of_another_order_is_refused(api: Api, given: str, used: str) -> None:
    for _ in range(2):
        api.client.post(f"/v1/jobs/{api.push()['id']}/cancel").raise_for_status()
    cursor = api.client.get("/v1/jobs", params={"sort": given, "limit": 1}).json()["next_cursor"]
    answer = api.client.get("/v1/jobs", params={"sort": used, "cursor": cursor})
    assert (answer.status_code, fields_of(answer)) == (422, {"cursor": "must be a `next_cursor` of this listing"})


def test_listed_jobs_know_their_batch_and_their_place_in_it(api: Api) -> None:
    api.push_batch("pilot", [new_job(), new_job()])
    listed = walk(api, "/v1/jobs")
    assert [(job["batch"], job["number"]) for job in listed] == [("pilot", 2), ("pilot", 1)]


def test_a_longer_page_takes_no_more_statements(api: Api) -> None:
    for number in range(3):
        api.push_batch(f"batch-{number}", [new_job() for _ in range(5)])

    def count_statements(limit: int) -> int:
        reported: list[str] = []
        engine = api.app.state.runtime.engine
        event.listen(engine, "after_cursor_execute", note := lambda *context: reported.append(context[2]))
        api.client.get("/v1/jobs", params={"limit": limit}).raise_for_status()
        event.remove(engine, "after_cursor_execute", note)
        return sum(statement.startswith("SELECT") for statement in reported)  # a wake-up may come in between

    assert count_statements(1) == count_statements(15) <= 4


def test_the_history_is_reported_oldest_first_and_each_line_once(api: Api) -> None:
    job_id = api.push()["id"]
    for move in ("cancel", "retry") * 3:
        api.client.post(f"/v1/jobs/{job_id}/{move}").raise_for_status()
    events = walk(api, f"/v1/jobs/{job_id}/events", limit=2)
    assert [each["kind"] for each in events] == ["job.pushed", *("job.cancelled", "job.retried") * 3]
    assert [each["id"] for each in events] == sorted({each["id"] for each in events})
    assert events[-1]["detail"] == {"state": "queued", "by": BY}
    assert events[-2]["detail"] == {"by": BY}


def test_a_history_is_not_continued_with_the_cursor_of_a_job_listing(api: Api) -> None:
    job_id = api.push()["id"]
    api.push()
    cursor = api.client.get("/v1/jobs?limit=1").json()["next_cursor"]
    response = api.client.get(f"/v1/jobs/{job_id}/events", params={"cursor": cursor})
    assert (response.status_code, list(fields_of(response))) == (422, ["cursor"])


def test_a_queued_job_is_cancelled_at_once_and_only_once(api: Api) -> None:
    job_id = api.push()["id"]
    cancelled = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["outcome"]) == (202, "cancelled")
    assert cancelled.json()["job"]["state"] == "cancelled"
    assert cancelled.json()["job"]["ended_at"]
    again = api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["detail"]) == (409, f"job {job_id} has ended: it is cancelled")


@pytest.mark.parametrize("state", ["queued", "submitting", "rendering"])
def test_the_history_names_the_person_who_cancelled(api: Api, state: str) -> None:
    with transaction(api.sessions) as session:
        job_id = rows.add_job(session) if state == "queued" else rows.add_render(session, state).job_id
    api.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
    last = api.client.get(f"/v1/jobs/{job_id}/events").json()["items"][-1]
    kind = "job.cancel_requested" if state == "rendering" else "job.cancelled"
    assert (last["kind"], last["detail"]) == (kind, {"by": BY})


def test_a_job_is_found_by_its_batch_and_number(api: Api) -> None:
    api.push_batch("pilot", [new_job(), new_job()])
    jobs = {job["number"]: job["id"] for job in api.client.get("/v1/jobs?batch=pilot").json()["items"]}
    for number, job_id in jobs.items():
        assert api.client.get(f"/v1/jobs/pilot/{number}").json()["id"] == job_id
    assert api.client.get("/v1/jobs/pilot%2F2/events").json()["items"][0]["kind"] == "job.pushed"
    assert api.client.post("/v1/jobs/pilot/2/cancel").json()["job"]["id"] == jobs[2]
    assert api.client.post("/v1/jobs/pilot/2/retry").json()["job"]["id"] == jobs[2]
    assert api.client.post("/v1/jobs/pilot/2/recheck").status_code == 409
    assert api.client.get("/v1/jobs/pilot/2/video").status_code == 409
    for unknown in ("pilot/3", "none/1"):
        assert api.client.get(f"/v1/jobs/{unknown}").status_code == 404


def test_a_render_in_flight_is_only_asked_to_end(api: Api) -> None:
    with transaction(api.sessions) as session:
        render = rows.add_render(session, "rendering")
    answer = api.client.post(f"/v1/jobs/{render.job_id}/cancel").json()
    assert (answer["outcome"], answer["job"]["state"], answer["job"]["cancel_requested"]) == (
        "requested",
        "rendering",
        True,
    )


def test_a_failed_job_is_queued_again(api: Api) -> None:
    with transaction(api.sessions) as session:
        job_id = rows.add_job(session, "failed")
    answer = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert (answer.json()["job"]["state"], answer.json()["job"]["error"]) == ("queued", None)


def test_a_video_that_is_paid_for_is_fetched_and_not_bought_again(api: Api) -> None:
    with transaction(api.sessions) as session:
        job_id = rows.add_job(session, "failed")
        rows.add_prediction(session, job_id, rows.add_account(session), "completed")
    assert api.client.post(f"/v1/jobs/{job_id}/retry").json()["state"] == "storing"


def test_a_job_that_has_not_failed_is_not_retried(api: Api) -> None:
    job_id = api.push()["id"]
    answer = api.client.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"job {job_id} is queued")
