"""The account over HTTP: its money from rows, pauses by a person, and what came too late."""

from typing import Any
from uuid import UUID

import pytest

from models import UnknownPrediction, transitions
from models.db.session import transaction
from rushes.runtime import ACCOUNT, count_stale
from tests.support import rows
from tests.support.access import BY
from tests.support.api_server import Api, Json

PRICES = {
    "submitting": "held",
    "unconfirmed": "held",
    "rendering": "held",
    "completed": "spent",
    "deleted": "spent",
    "lost": "spent",
    "failed": "refunded",
    "timeout": "refunded",
    "refused": None,
    "not_found": None,
}
OUTCOMES = {"rendering": "held", "completed": "spent", "failed": "refunded"}


@pytest.fixture
def account(api: Api) -> UUID:
    with transaction(api.sessions) as session:
        return transitions.accounts.ensure_account(session, ACCOUNT, slots=2, submits_per_minute=2)


def show(api: Api) -> Json:
    shown: Json = api.client.get("/v1/account").raise_for_status().json()
    return shown


def test_an_account_before_any_worker_is_not_found(api: Api) -> None:
    assert api.client.get("/v1/account").status_code == 404
    assert api.client.post("/v1/account/pause").status_code == 404


def test_the_money_of_an_account_is_held_then_spent_or_given_back(api: Api, account: UUID) -> None:
    expected = dict.fromkeys(("held", "spent", "refunded"), 0)
    with transaction(api.sessions) as session:
        for power, (state, column) in enumerate(PRICES.items()):
            rows.add_render(session, state, account_id=account, price=2**power)
            if column:
                expected[column] += 2**power
        for power, (outcome, column) in enumerate(OUTCOMES.items(), start=len(PRICES)):
            rows.add_render(session, outcome, account_id=account, price=2**power, is_duplicate=True)
            expected[column] += 2**power
        for is_duplicate in (False, True):
            empty: dict[str, Any] = {"price": 8192, "is_duplicate": is_duplicate, "error_code": "no_output"}
            rows.add_render(session, "failed", account_id=account, **empty)
            expected["spent"] += 8192
        rows.add_render(session, "completed", price=65536)  # another account's
    shown = show(api)
    duplicate = 2 ** (len(PRICES) + 1) + 8192
    assert shown["cost"] == {name: f"{dollars}.0000" for name, dollars in (expected | {"duplicate": duplicate}).items()}
    assert shown["duplicates"] == len(OUTCOMES) + 1
    assert api.client.get("/readyz").json()["duplicates"] == len(OUTCOMES) + 1


def test_an_unknown_prediction_is_counted_for_seven_days(api: Api, account: UUID) -> None:
    with transaction(api.sessions) as session:
        for provider_id, days in (("a", 0), ("b", 6), ("c", 8)):
            unknown_prediction = {"account_id": account, "provider_id": provider_id, "video_model": rows.VIDEO_MODEL}
            transitions.runs.insert_unknown_predictions(
                session, [{**unknown_prediction, "input": None, "provider_created_at": None}]
            )
            found = UnknownPrediction.provider_id == provider_id
            rows.change(session, "unknown_prediction", found, found_at=-days * rows.DAY)
    assert show(api)["unknown_predictions"] == 2


def test_a_person_pauses_and_resumes_and_both_are_reported(api: Api, account: UUID) -> None:
    paused = api.client.post("/v1/account/pause").raise_for_status().json()["status"]
    assert (paused["condition"], paused["detail"]) == ("paused", f"person: {BY}")
    assert api.client.post("/v1/account/pause").status_code == 409
    assert api.client.get("/readyz").json()["account"] == paused
    with transaction(api.sessions) as session:
        room = transitions.admission.count_free_slots(session, account)
    assert room is not None
    assert (room.free, room.submits) == (0, 0)
    job = api.push()
    assert f"paused (person: {BY})" in api.client.get(f"/v1/jobs/{job['id']}").json()["waits_for"]

    assert api.client.post("/v1/account/resume").raise_for_status().json()["status"] is None
    assert api.client.post("/v1/account/resume").status_code == 409
    with transaction(api.sessions) as session:
        assert rows.kinds(session, account_id=account) == ["account.paused", "account.resumed"]


def test_stale_writes_are_counted_by_kind(api: Api, account: UUID) -> None:
    for kind in ("store.finish", "watch.outcome", "store.finish"):
        count_stale(api.app.state.runtime, kind, account)
    assert show(api)["stale_writes"] == {"store.finish": 2, "watch.outcome": 1}
    assert api.client.get("/readyz").json()["stale_writes"] == 3


def test_the_video_of_a_duplicate_purchase_that_is_not_there_is_not_found(api: Api) -> None:
    with transaction(api.sessions) as session:
        render = rows.add_render(session, "rendering", is_duplicate=True)
    assert api.client.get(f"/v1/predictions/{render.prediction_id}/video").status_code == 404
