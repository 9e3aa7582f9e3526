"""The time that is left, as the commands show it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli.batch_progress import describe_batch
from cli.output import show_time_left
from cli.prompt_file.options import read_finish_by
from tests.support.cli_stub import UUID, Answer, Run, batch, job, problem, serve_stub

LEFT = {"expected_seconds": 300.4, "low_seconds": 250.0, "high_seconds": 390.9}
BATCH_LEFT = {
    **LEFT,
    "expected_at": "2026-11-05T12:05:00.000000Z",
    "low_at": "2026-11-05T12:04:10.000000Z",
    "high_at": "2026-11-05T12:06:31.000000Z",
}
RUNNING: dict[str, Any] = {
    "done": 1,
    "ended_at": None,
    "states": {"succeeded": 1, "rendering": 1},
    "seconds_left": 300.4,
    "time_left": BATCH_LEFT,
}


def facts_of(out: str) -> dict[str, str]:
    """Names and values of two columns."""
    return {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in out.splitlines())}


def test_a_job_shows_its_share_rounded_down_and_its_interval(run: Run) -> None:
    rendering = job(state="rendering", ended_at=None, progress=0.999, time_left=LEFT)
    with serve_stub(Answer(body=rendering), Answer(body={"items": [], "next_cursor": None})) as stub:
        code, out, _ = run(stub, "job", "show", UUID)
    assert code == 0
    assert facts_of(out)["progress"] == "99 %"
    assert facts_of(out)["time left"] == "about 5:00 (4:10 to 6:31)"


def test_a_job_that_has_ended_shows_neither(run: Run) -> None:
    with serve_stub(Answer(body=job(progress=1.0)), Answer(body={"items": [], "next_cursor": None})) as stub:
        _, out, _ = run(stub, "job", "show", UUID)
    assert not {"progress", "time left"} & set(facts_of(out))


def test_a_job_s_history_shows_the_forecast_of_its_acceptance(run: Run) -> None:
    accepted = {"at": "2026-11-05T12:00:00Z", "kind": "prediction.rendering", "detail": {"time_left": LEFT}}
    with serve_stub(Answer(body=job()), Answer(body={"items": [accepted], "next_cursor": None})) as stub:
        _, out, _ = run(stub, "job", "show", UUID)
    assert "time_left=about 5:00 (4:10 to 6:31)" in out


def test_json_output_holds_what_the_api_answers(run: Run) -> None:
    rendering = job(state="rendering", ended_at=None, progress=0.25, time_left=LEFT)
    with serve_stub(Answer(body=rendering), Answer(body={"items": [], "next_cursor": None})) as stub:
        _, out, _ = run(stub, "job", "show", UUID, "--json")
    reported = json.loads(out)
    assert (reported["progress"], reported["time_left"]) == (0.25, LEFT)


def test_a_batch_shows_when_it_will_have_ended(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    with serve_stub(Answer(body=batch(**RUNNING))) as stub:
        _, out, _ = run(stub, "batch", "show", "pilot")
    assert facts_of(out)["time left"] == "about 5:00 (4:10 to 6:31)"
    assert facts_of(out)["ends"].startswith("about 2026-11-05 ")


def test_a_batch_that_is_watched_is_checked_until_it_has_ended(run: Run) -> None:
    with serve_stub(Answer(body=batch(**RUNNING)), Answer(body=batch())) as stub:
        code, out, err = run(stub, "batch", "show", "pilot", "--watch")
    assert (code, len(stub.asked)) == (0, 2)
    assert "about 5:00 (4:10 to 6:31) left" in err
    assert facts_of(out)["jobs"] == "2 of 2 ended: 2 succeeded"


@pytest.mark.parametrize(
    ("left", "seconds", "shown"),
    [(LEFT, None, "about 5:00 (4:10 to 6:31)"), (None, 61.0, "about 1:01"), (None, None, "")],
)
def test_a_batch_without_an_interval_shows_the_rate_so_far(left: Any, seconds: float | None, shown: str) -> None:
    assert show_time_left(left, seconds=seconds) == shown


@pytest.mark.parametrize(
    ("unknown", "reported"),
    [
        ("paused", "unknown: the account is paused"),
        ("undecided", "unknown: an unconfirmed submission waits for a person, see rushes unconfirmed list"),
    ],
)
def test_the_reason_for_an_unknown_end_is_reported_in_its_place(run: Run, unknown: str, reported: str) -> None:
    without = {"seconds_left": None, "time_left": None, "time_left_unknown": unknown}
    with serve_stub(Answer(body=batch(**RUNNING | without))) as stub:
        _, out, _ = run(stub, "batch", "show", "pilot")
    assert facts_of(out)["time left"] == reported
    assert f"time left {reported}" in describe_batch(batch(**RUNNING | without))
    queued = job(state="queued", ended_at=None, time_left_unknown=unknown)
    with serve_stub(Answer(body=queued), Answer(body={"items": [], "next_cursor": None})) as stub:
        _, out, _ = run(stub, "job", "show", UUID)
    assert facts_of(out)["time left"] == reported


NOON = datetime(2026, 11, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("by", "within", "read"),
    [
        (None, None, None),
        ("2026-11-05T13:00Z", None, "2026-11-05T13:00:00+00:00"),
        ("2026-11-05T13:00:30+01:00", None, "2026-11-05T13:00:30+01:00"),
        (None, "2h", "2026-11-05T14:00:00+00:00"),
        (None, "90m", "2026-11-05T13:30:00+00:00"),
        (None, "1d12h", "2026-11-07T00:00:00+00:00"),
        (None, "1h 30m 5s", "2026-11-05T13:30:05+00:00"),
    ],
)
def test_an_end_is_a_time_with_its_zone_or_a_length(by: str | None, within: str | None, read: str | None) -> None:
    assert read_finish_by(by, within, now=NOON) == read


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--finish-by", "2026-11-05T13:00"], "--finish-by: must name its time zone, such as 2026-11-05T13:00Z or"),
        (["--finish-by", "noon"], "--finish-by: must be a time such as 2026-01-01T12:00Z, not 'noon'"),
        (["--finish-in", "2 weeks"], "--finish-in: must be a length such as 2h, 90m or 1d12h, not '2 weeks'"),
        (["--finish-in", ""], "--finish-in: must be a length such as"),
        (["--finish-in", "2h", "--finish-by", "2026-11-05T13:00Z"], "--finish-in: cannot be given together with"),
    ],
)
def test_an_end_that_cannot_be_read_is_refused_before_anything_is_sent(run: Run, words: list[str], error: str) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "a fox", "model": "ltx-2-pro"}\n')
    with serve_stub(Answer(201, batch())) as stub:
        code, out, err = run(stub, "submit", "prompts.jsonl", *words)
    assert (code, out, stub.asked) == (2, "", [])
    assert err.startswith(f"error: {error}")


def test_the_end_is_pushed_with_the_batch(run: Run) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "a fox", "model": "ltx-2-pro"}\n')
    with serve_stub(Answer(201, batch())) as stub:
        code, _, _ = run(stub, "submit", "prompts.jsonl", "--finish-by", "2036-11-05T13:00Z")
    assert code == 0
    assert stub.asked[0].body["finish_by"] == "2036-11-05T13:00:00+00:00"


def test_a_batch_at_risk_says_so_and_how_likely_it_holds(run: Run) -> None:
    promised = {"finish_by": "2026-11-05T12:05:00.000000Z", "finish_by_chance": 0.666, "at_risk": True}
    with serve_stub(Answer(body=batch(**RUNNING, **promised))) as stub:
        _, out, _ = run(stub, "batch", "show", "pilot")
    assert facts_of(out)["finish by"].endswith(", at risk, 66 % likely to hold")
    assert "at risk of ending after 2026-11-05" in describe_batch(batch(**RUNNING, **promised))


def test_an_end_that_the_api_refuses_is_reported_by_its_name(run: Run) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "a fox", "model": "ltx-2-pro"}\n')
    with serve_stub(problem(422, "wrong", ("finish_by", "must be in the future"))) as stub:
        code, _, err = run(stub, "submit", "prompts.jsonl", "--finish-by", "2020-11-05T13:00Z")
    assert code == 2
    assert "finish_by: must be in the future" in err
