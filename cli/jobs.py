"""`rushes job`: what one job waits for, its history, its purchases and its file; retry and cancel."""

import math
from typing import Annotated, Any

import typer

from cli.client import ApiClient
from cli.options import JsonOption, LimitOption
from cli.printing import (
    note,
    print_facts,
    print_json,
    print_line,
    print_table,
    show_moment,
    show_money,
    show_seconds,
    show_state,
    show_text,
    show_time_left,
)
from models import JobState
from rushes.settings import load_settings

app = typer.Typer(help="Jobs: one video each.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a job.", show_default=False)]
StateOption = Annotated[JobState | None, typer.Option(help="Only jobs in this state.", show_default=False)]
BatchOption = Annotated[str | None, typer.Option("--batch", "-b", help="Name or id of a batch.", show_default=False)]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Id or short name.", show_default=False)]


@app.command("show")
def show(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job: its state, what it waits for, its history, its predictions, cost and file.

    Example:

        rushes job show 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with ApiClient(load_settings().url) as client:
        found = client.get("jobs", job)
        events = list(client.list_items("jobs", job, "events", limit=None))
    if as_json:
        print_json({**found, "events": events})
        return
    _show_facts(found, file=_find_file(events))
    _show_predictions(found.get("predictions") or [])
    _show_events(events)


@app.command("list")
def list_jobs(
    *,
    state: StateOption = None,
    batch: BatchOption = None,
    model: ModelOption = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first.

    Examples:

        rushes job list --batch pilot --state failed

        rushes job list --state rendering --json
    """
    chosen = {"state": state.value if state else None, "batch": batch, "model": model}
    with ApiClient(load_settings().url) as client:
        jobs = list(client.list_items("jobs", limit=limit, **chosen))
    if as_json:
        print_json({"items": jobs})
        return
    if not jobs:
        note("no such jobs")
        return
    rows = [
        (each["id"], show_state(each["state"]), _place(each), each["model"], show_text(each["input"].get("prompt", "")))
        for each in jobs
    ]
    print_table(("ID", "STATE", "BATCH", "MODEL", "PROMPT"), rows)


@app.command("retry")
def retry(job: JobArgument, as_json: JsonOption = False) -> None:
    """Queue a failed or cancelled job again, or fetch its video where it is paid for but not stored.

    Example:

        rushes job retry 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with ApiClient(load_settings().url) as client:
        answer = client.post("jobs", job, "retry")
    if as_json:
        print_json(answer)
        return
    print_line(f"job {job} is {answer['state']}")


@app.command("cancel")
def cancel(job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job. One that renders ends as cancelled once the provider is done; its video is kept.

    Example:

        rushes job cancel 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with ApiClient(load_settings().url) as client:
        answer = client.post("jobs", job, "cancel")
    if as_json:
        print_json(answer)
    elif answer["outcome"] == "cancelled":
        print_line(f"job {job} is cancelled")
    else:
        print_line(f"job {job} will be cancelled: its render cannot be stopped, so it ends with it")


def _find_file(events: list[dict[str, Any]]) -> str | None:
    """Where the video was stored, as its history tells."""
    stored = (each["detail"].get("url") for each in reversed(events) if isinstance(each["detail"], dict))
    return next((url for url in stored if url), None)


def _show_facts(job: dict[str, Any], *, file: str | None) -> None:
    error, video = job["error"] or {}, job["video"] or {}
    print_facts(
        {
            "job": job["id"],
            "state": show_state(job["state"]),
            "waits for": job.get("waits_for"),
            "progress": _show_share(job),
            "time left": show_time_left(job.get("time_left"), unknown=job.get("time_left_unknown")),
            "failed": f"{error.get('message')} ({error.get('code')})" if error else "",
            "cancel": "requested" if job["cancel_requested"] and not job["ended_at"] else "",
            "batch": _place(job),
            "model": job["model"],
            **{name: show_text(_spell(value), limit=500) for name, value in job["input"].items()},
            "priority": job["priority"],
            "attempts": f"{job['attempts']} of {job['max_attempts']}",
            "price": show_money(job["price"]),
            "held": show_money(job["cost"]["held"]),
            "spent": show_money(job["cost"]["spent"]),
            "pushed": show_moment(job["created_at"]),
            "ended": show_moment(job["ended_at"]),
            "file": file,
            "video": video.get("url"),
            "video is": _describe_video(video) if video else "",
            "sha256": video.get("sha256"),
        }
    )


def _show_share(job: dict[str, Any]) -> str:
    share = job.get("progress")
    return "" if not share or job["ended_at"] else f"{math.floor(share * 100)} %"


def _spell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _describe_video(video: dict[str, Any]) -> str:
    sound = "with sound" if video["has_audio"] else "without sound"
    length = show_seconds(video["seconds"])
    return f"{video['bytes']:,} bytes, {video['container']}, {length}, {video['width']}x{video['height']}, {sound}"


def _show_predictions(predictions: list[dict[str, Any]]) -> None:
    if not predictions:
        return
    rows = [
        (
            each["attempt"],
            each["id"],
            _show_purchase(each),
            each["provider_id"] or "",
            show_money(each["price"]),
            show_moment(each["posted_at"]),
            show_moment(each["ended_at"]),
            show_text((each["error"] or {}).get("message", ""), limit=200),
        )
        for each in predictions
    ]
    print_table(
        ("NO", "PREDICTION", "STATE", "PROVIDER ID", "PRICE", "POSTED", "ENDED", "ERROR"), rows, title="\npredictions"
    )


def _show_purchase(prediction: dict[str, Any]) -> str:
    """Its state; of a surplus also how it ended and where its video is."""
    told = [prediction.get("verdict"), prediction.get("video_url")]
    more = ", ".join(each for each in told if each)
    return f"{prediction['state']} ({more})" if more else str(prediction["state"])


def _show_events(events: list[dict[str, Any]]) -> None:
    rows = [(show_moment(each["at"]), each["kind"], _describe_detail(each["detail"])) for each in events]
    print_table(("AT", "EVENT", "DETAIL"), rows, title="\nhistory")


def _describe_detail(detail: object) -> str:
    if isinstance(detail, dict):
        detail = ", ".join(f"{name}={_spell_fact(value)}" for name, value in detail.items() if value is not None)
    return show_text(detail or "", limit=200)


def _spell_fact(value: object) -> object:
    return show_time_left(value) if isinstance(value, dict) and "expected_seconds" in value else value


def _place(job: dict[str, Any]) -> str:
    return f"{job['batch']} #{job['number']}" if job["batch"] else ""
