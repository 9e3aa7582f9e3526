"""`rushes job list` and `rushes failures`: what they ask the API for, and what they show."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from cli.choosing import read_age, read_moment
from cli.output import show_age
from tests.support.cli_stub import UUID, Answer, Run, job, serve_stub

NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)
GROUP = {
    "code": "provider",
    "message": "task # failed",
    "jobs": 1200,
    "spent": "0.0000",
    "price": "432.0000",
    "models": ["ltx-2-fast", "ltx-2-pro"],
    "first_at": "2026-11-05T12:00:00.000000Z",
    "last_at": "2026-11-05T12:00:09.000000Z",
    "samples": [{"id": UUID, "batch": "pilot", "number": 3}, {"id": UUID, "batch": None, "number": None}],
}


def test_a_list_asks_for_every_filter_and_order(run: Run) -> None:
    filters = "--state failed --state cancelled -b pilot -m ltx-2-pro --code provider --older-than 2h --newer-than 1d"
    filters += " --client-ref TEST-1 --tenant films"
    with serve_stub(Answer(200, {"items": [], "next_cursor": None})) as stub:
        times = ("--ended-after", "2026-01-01T12:00Z", "--ended-before", "1h", "--sort", "cost", "-r")
        code, _, err = run(stub, "job", "list", *filters.split(), *times)
    asked = parse_qs(urlsplit(stub.asked[0].path).query)
    assert (code, err) == (0, "no such jobs\n")
    assert asked.pop("created_after") < asked.pop("created_before") < asked.pop("ended_before")
    assert asked == {
        "state": ["failed", "cancelled"],
        "batch": ["pilot"],
        "code": ["provider"],
        "model": ["ltx-2-pro"],
        "client_ref": ["TEST-1"],
        "tenant": ["films"],
        "ended_after": ["2026-01-01T12:00:00+00:00"],
        "sort": ["cost"],
        "reverse": ["True"],
        "limit": ["50"],
    }


def test_a_list_shows_age_and_error(run: Run) -> None:
    created = (datetime.now(UTC) - timedelta(hours=2, minutes=5, seconds=20)).isoformat()
    failed = job(state="failed", created_at=created, error={"code": "provider", "message": "the render failed " * 9})
    with serve_stub(Answer(200, {"items": [failed], "next_cursor": None})) as stub:
        lines = run(stub, "job", "list")[1].splitlines()
    assert lines[0].split() == ["ID", "STATE", "AGE", "BATCH", "MODEL", "ERROR", "PROMPT"]
    error = "provider: the render failed the render failed t…"
    assert lines[1].split("  ") == [UUID, "failed", "2h5m", "pilot/1", "ltx-2-pro", error, "a fox"]


@pytest.mark.parametrize(("other", "column"), [("films", ["TENANT", "ID"]), ("default", ["ID", "STATE"])])
def test_a_list_of_several_tenants_names_them(run: Run, other: str, column: list[str]) -> None:
    jobs = [job(tenant="default"), job(tenant=other)]
    with serve_stub(Answer(200, {"items": jobs, "next_cursor": None})) as stub:
        lines = run(stub, "job", "list")[1].splitlines()
    assert lines[0].split()[:2] == column


def test_failures_are_shown_in_groups_with_the_next_step(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [GROUP], "jobs": 1200})) as stub:
        code, out, err = run(stub, "failures", "--since", "1h", "--batch", "pilot", "--code", "provider")
    asked = parse_qs(urlsplit(stub.asked[0].path).query)
    assert (code, asked["batch"], asked["code"], sorted(asked)[2]) == (0, ["pilot"], ["provider"], "ended_after")
    assert out.splitlines()[:4] == [
        "1,200 jobs: provider",
        "  message  task # failed",
        "  cost     $0.00 spent, $432.00 to render again",
        "  models   ltx-2-fast, ltx-2-pro",
    ]
    assert f"  such as  pilot/3, {UUID}\n" in out
    assert "`rushes job show pilot/3`" in err
    assert "`rushes batch retry pilot --code provider`" in err


def test_a_hint_names_the_batch_of_another_tenant_in_full(run: Run) -> None:
    samples = [{"id": UUID, "tenant": "films", "batch": "pilot", "number": 3}]
    with serve_stub(Answer(200, {"items": [{**GROUP, "samples": samples}], "jobs": 1200})) as stub:
        _, out, err = run(stub, "failures")
    assert "  such as  films:pilot/3\n" in out
    assert "`rushes batch retry films:pilot --code provider`" in err


def test_no_failures_are_no_groups_and_no_next_step(run: Run) -> None:
    with serve_stub(Answer(200, {"items": [], "jobs": 0})) as stub:
        assert run(stub, "failures") == (0, "0 failed jobs\n", "")


@pytest.mark.parametrize(
    ("option", "words", "said"),
    [
        ("--ended-after", "soon", "--ended-after: must be a time such as 2026-01-01T12:00Z, or an age such as 2h"),
        ("--ended-before", "2026-01-01T12:00", "--ended-before: must name its time zone"),
        ("--older-than", "2026-01-01T12:00Z", "--older-than: must be a length such as 2h"),
    ],
)
def test_a_wrong_time_is_refused_by_its_option(run: Run, option: str, words: str, said: str) -> None:
    code, _, err = run(None, "job", "list", option, words)
    assert (code, said in err) == (2, True)


def test_a_moment_is_a_time_or_an_age() -> None:
    assert read_moment("2026-11-05T13:00+01:00", option="x") == "2026-11-05T13:00:00+01:00"
    assert read_moment("1d2h", option="x", now=NOON) == "2026-11-04T10:00:00+00:00"
    assert read_age("90m", option="x", now=NOON) == "2026-11-05T10:30:00+00:00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59, "59s"),
        (61, "1m1s"),
        (3599, "59m59s"),
        (7500, "2h5m"),
        (86400, "1d"),
        (90061, "1d1h"),
    ],
)
def test_an_age_has_at_most_two_units(seconds: int, shown: str) -> None:
    assert show_age((NOON - timedelta(seconds=seconds)).isoformat(), now=NOON) == shown
