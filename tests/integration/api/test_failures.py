"""Failed jobs in groups, over HTTP."""

from decimal import Decimal
from typing import Any

import pytest

from models.db.session import transaction
from tests.support import rows
from tests.support.api_server import Api, fields_of


def fail(api: Api) -> None:
    """Six failed jobs: four for two reasons that differ in numbers only, two for another one."""
    with transaction(api.sessions) as session:
        account, batch = rows.add_account(session), rows.insert(session, "batch", name="pilot", job_count=4)
        for number in range(1, 5):
            message, more = f"task 8f{number}0aa11 failed after {number} s", {"batch_id": batch, "number": number}
            ended_at = -number * rows.HOUR
            more |= {"client_ref": f"R-{number}"}
            rows.add_job(session, "failed", error_code="provider", error_message=message, ended_at=ended_at, **more)
        for _ in range(2):
            job = rows.add_job(session, "failed", error_code="no_output", error_message=None, video_model="x/y")
            rows.add_prediction(session, job, account, "failed", error_code="no_output", price="0.5")
        rows.add_job(session, "cancelled")


def test_failed_jobs_are_grouped_with_count_cost_and_samples(api: Api) -> None:
    fail(api)
    found = api.client.get("/v1/failures").json()
    provider, empty = found["items"]
    assert found["jobs"] == 6
    assert (provider["code"], provider["message"], provider["jobs"]) == ("provider", "task # failed after # s", 4)
    assert (provider["spent"], provider["price"], provider["models"]) == ("0.0000", "1.4400", ["ltx-2-pro"])
    assert provider["first_at"] < provider["last_at"]
    assert [(each["batch"], each["number"]) for each in provider["samples"]] == [("pilot", n) for n in (1, 2, 3, 4)]
    assert provider["samples"][0]["client_ref"] == "R-1"
    assert (empty["message"], Decimal(empty["spent"]), empty["models"]) == ("", 1, ["x/y"])


@pytest.mark.parametrize(
    ("query", "jobs"),
    [
        ({}, 6),
        ({"batch": "pilot"}, 4),
        ({"code": "no_output"}, 2),
        ({"batch": "pilot", "code": "no_output"}, 0),
        ({"model": "ltx-2-pro"}, 4),
        ({"ids": ["pilot/1", "pilot/3"]}, 2),
        ({"ended_after": "2000-01-01T00:00:00Z"}, 6),
        ({"ended_before": "2000-01-01T00:00:00Z"}, 0),
    ],
)
def test_failures_are_filtered_as_jobs_are(api: Api, query: dict[str, Any], jobs: int) -> None:
    fail(api)
    assert api.client.get("/v1/failures", params=query).json()["jobs"] == jobs


def test_a_wrong_filter_of_failures_is_refused_by_name(api: Api) -> None:
    answer = api.client.get("/v1/failures?ended_after=1h&limit=3")
    assert (answer.status_code, set(fields_of(answer))) == (422, {"ended_after", "limit"})
    assert api.client.get("/v1/failures?batch=nobody").status_code == 404
