"""What a person decides about purchases over HTTP: unconfirmed submissions adopted or marked not found, renders
abandoned."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from models import transitions
from models.db.session import transaction
from tests.support import rows
from tests.support.access import BY
from tests.support.api_server import Api, Json, fields_of
from tests.support.locks import wait_for_a_blocked_statement
from tests.support.rows import SECOND, Render

NOBODY = UUID(int=1)


def add_render(api: Api, state: str, **columns: Any) -> Render:
    with transaction(api.sessions) as session:
        return rows.add_render(session, state, **columns)


def marked_unconfirmed(api: Api, **columns: Any) -> Render:
    return add_render(api, "unconfirmed", **{"posted_at": -SECOND, "due_at": SECOND, **columns})


def stuck(api: Api, **columns: Any) -> Render:
    return add_render(api, "rendering", **{"watch_windows": 1, **columns})


def decide(api: Api, render: Render, what: str, **body: Any) -> Any:
    return api.client.post(f"/v1/predictions/{render.prediction_id}/{what}", json=body or None)


def events_of(api: Api, render: Render, *, kind: str) -> list[Json]:
    events = api.client.get(f"/v1/jobs/{render.job_id}/events").raise_for_status().json()["items"]
    return [each["detail"] for each in events if each["kind"] == kind]


def read_all(api: Api) -> dict[str, Any]:
    with transaction(api.sessions) as session:
        return rows.read_everything(session)


def test_unconfirmed_submissions_are_listed_oldest_first(api: Api) -> None:
    young = marked_unconfirmed(api, error_code="outcome_unknown", error_message="no answer")
    old = marked_unconfirmed(api, posted_at=-9 * rows.MINUTE, error_code="undecidable", error_message="cannot be read")
    stuck(api)
    items = api.client.get("/v1/unconfirmed").raise_for_status().json()["items"]
    assert [each["prediction_id"] for each in items] == [str(old.prediction_id), str(young.prediction_id)]
    assert [(each["needs_person"], each["reason"]) for each in items] == [
        (True, "cannot be read"),
        (False, "no answer"),
    ]
    assert (items[0]["job_id"], items[0]["model"], items[0]["price"]) == (str(old.job_id), "ltx-2-pro", "0.3600")
    assert items[0]["input"]["prompt"] == "a lighthouse"


def test_an_adopted_unconfirmed_submission_renders_and_tells_who_decided(api: Api) -> None:
    render = marked_unconfirmed(api)
    job = decide(api, render, "adopt", provider_id="task-7").raise_for_status().json()
    (bought,) = job["predictions"]
    assert (job["state"], bought["state"], bought["provider_id"]) == ("rendering", "rendering", "task-7")
    assert events_of(api, render, kind="submission.decided") == [{"how": "adopted", "by": BY, "provider_id": "task-7"}]
    with transaction(api.sessions) as session:
        row = rows.read(session, "prediction", render.prediction_id)
    assert row["adopted_at"] is not None
    assert row["due_at"] is not None
    assert api.client.get("/v1/unconfirmed").json() == {"items": []}


def test_an_id_that_another_row_has_is_not_adopted(api: Api) -> None:
    render = marked_unconfirmed(api)
    add_render(api, "rendering", account_id=render.account_id, provider_id="task-7")
    before = read_all(api)
    refused = decide(api, render, "adopt", provider_id="task-7")
    assert refused.status_code == 409
    assert refused.json()["detail"] == "the provider's prediction task-7 belongs to another submission"
    assert read_all(api) == before


def test_two_adoptions_of_one_id_at_once_cannot_both_succeed(api: Api) -> None:
    first = marked_unconfirmed(api)
    second = marked_unconfirmed(api, account_id=first.account_id)
    with ThreadPoolExecutor(1) as pool:
        with transaction(api.sessions) as session:
            assert transitions.purchases.adopt_unconfirmed(
                session, first.prediction_id, provider_id="task-7", watch_window=SECOND, by="x"
            )
            late = pool.submit(decide, api, second, "adopt", provider_id="task-7")
            wait_for_a_blocked_statement(api.sessions)
        assert late.result().status_code == 409
    assert events_of(api, second, kind="submission.decided") == []


@pytest.mark.parametrize("provider_id", ["", " ", "a b", "a\0", "ä", "x" * 201])
def test_an_impossible_provider_id_is_refused_by_field(api: Api, provider_id: str) -> None:
    refused = decide(api, marked_unconfirmed(api), "adopt", provider_id=provider_id)
    assert (refused.status_code, list(fields_of(refused))) == (422, ["provider_id"])


def test_a_submission_marked_not_found_is_queued_and_names_who_decided(api: Api) -> None:
    render = marked_unconfirmed(api)
    job = decide(api, render, "dismiss").raise_for_status().json()
    assert (job["state"], job["attempts"], job["predictions"][0]["state"]) == ("queued", 0, "not_found")
    assert job["cost"] == {"held": "0.0000", "spent": "0.0000"}
    assert events_of(api, render, kind="submission.decided") == [{"how": "not_found", "by": BY}]


@pytest.mark.parametrize(
    ("what", "body"),
    [("adopt", {"provider_id": "task-7"}), ("dismiss", {}), ("abandon", {"accept_double_cost": True})],
)
@pytest.mark.parametrize("state", ["submitting", "completed", "not_found", "failed", "lost"])
def test_a_submission_that_is_not_unconfirmed_or_rendering_is_not_decided(
    api: Api, what: str, body: Json, state: str
) -> None:
    render = add_render(api, state)
    before = read_all(api)
    refused = decide(api, render, what, **body)
    assert refused.status_code == 409
    assert f"is {state}" in refused.json()["detail"]
    assert read_all(api) == before


@pytest.mark.parametrize(
    ("what", "body"),
    [("adopt", {"provider_id": "task-7"}), ("dismiss", {}), ("abandon", {"accept_double_cost": True})],
)
def test_a_prediction_that_is_not_there_is_not_found(api: Api, what: str, body: Json) -> None:
    assert decide(api, Render(NOBODY, NOBODY, NOBODY), what, **body).status_code == 404


def test_an_abandoned_render_counts_as_spent_and_its_job_is_queued_again(api: Api) -> None:
    render = stuck(api, provider_id="task-7", claim=4)
    job = decide(api, render, "abandon", accept_double_cost=True).raise_for_status().json()
    (bought,) = job["predictions"]
    assert (job["state"], job["attempts"], bought["state"]) == ("queued", 1, "lost")
    assert bought["error"]["code"] == "abandoned"
    assert job["cost"] == {"held": "0.0000", "spent": "0.3600"}
    (reported,) = events_of(api, render, kind="prediction.abandoned")
    assert (reported["by"], reported["provider_id"], reported["windows"]) == (BY, "task-7", 1)
    assert Decimal(reported["price"]) == Decimal("0.36")


def test_a_job_without_attempts_left_fails_when_its_render_is_abandoned(api: Api) -> None:
    render = stuck(api)
    with transaction(api.sessions) as session:
        rows.change(session, "job", render.job_id, max_attempts=1)
    job = decide(api, render, "abandon", accept_double_cost=True).raise_for_status().json()
    assert (job["state"], job["error"]["code"], job["cost"]["spent"]) == ("failed", "abandoned", "0.3600")


@pytest.mark.parametrize("body", [{"accept_double_cost": False}, {"accept_double_cost": "yes"}])
def test_a_render_is_not_abandoned_before_its_cost_is_accepted(api: Api, body: Json) -> None:
    render = stuck(api)
    before = read_all(api)
    refused = decide(api, render, "abandon", **body)
    assert (refused.status_code, list(fields_of(refused))) == (422, ["accept_double_cost"])
    assert read_all(api) == before


def test_the_refusal_to_abandon_names_the_cost(api: Api) -> None:
    refused = decide(api, stuck(api), "abandon", accept_double_cost=False)
    assert "may still be billed ($0.3600)" in fields_of(refused)["accept_double_cost"]


def test_a_render_in_its_first_watch_window_is_not_abandoned(api: Api) -> None:
    render = stuck(api, watch_windows=0)
    refused = decide(api, render, "abandon", accept_double_cost=True)
    assert (refused.status_code, events_of(api, render, kind="prediction.abandoned")) == (409, [])
