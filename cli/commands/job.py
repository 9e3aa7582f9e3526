"""`rushes job`: show a job's wait, history, purchases and file; retry, recheck and cancel it."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.batch_download import download_file
from cli.commands.action import change_jobs
from cli.commands.job_list import list_jobs
from cli.local_files import read_replacements
from cli.options import FolderOption, JsonOption
from cli.output import (
    place_of,
    print_answer,
    print_facts,
    print_json,
    print_table,
    show_moment,
    show_money,
    show_seconds,
    show_state,
    show_text,
    show_time_left,
)
from stack.errors import BAD_INPUT, CommandError

app = typer.Typer(help="Jobs: one video each.", no_args_is_help=True)
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a job, or BATCH/NUMBER.")]
RequiredJobs = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of jobs, or BATCH/NUMBER.")]
JobsArgument = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of jobs, or BATCH/NUMBER.")]
CodeOption = Annotated[str | None, typer.Option("--code", help="Only jobs that ended with this failure code.")]
BatchOption = Annotated[str | None, typer.Option("--batch", "-b", help="Name or id of a batch.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Replace a value of the input; a path names a file. Repeatable."),
]


@app.command("show")
def show(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job: its state, what it waits for, its history, its predictions, cost and file.

    Example:

        rushes job show pilot/3
    """
    with open_api() as client:
        found = client.get("jobs", job)
        events = list(client.list_items("jobs", job, "events", limit=None))
    if as_json:
        print_json({**found, "events": events})
        return
    _show_facts(found, file=_find_file(events))
    _show_predictions(found.get("predictions") or [])
    _show_events(events)


app.command("list")(list_jobs)


@app.command("retry")
def retry(jobs: RequiredJobs, *, replaced: SetOption = None, as_json: JsonOption = False) -> None:
    """Queue failed or cancelled jobs again, or fetch their videos if these are paid for but not stored.

    Several jobs are one action. `rushes batch retry` retries all that failed in a batch.

    Examples:

        rushes job retry pilot/3 pilot/17 pilot/20

        rushes job retry 019a2b3c-4d5e-7f60-8123-456789abcdef --set image=shots/fox.png
    """
    with open_api() as client:
        body = {"input": read_replacements(client, jobs[0], replaced)} if replaced else None
        if len(jobs) == 1:
            answer = client.post("jobs", jobs[0], "retry", body=body)
            print_answer(answer, f"job {jobs[0]} is {answer['state']}", as_json=as_json)
            return
    action = change_jobs("retry", {"ids": jobs}, yes=True, dry_run=False, as_json=as_json, arguments=body)
    if left := len(set(jobs)) - action["changed"]:
        hint = "`rushes job show ID` shows a job's state; only failed and cancelled jobs can be retried"
        raise CommandError(f"{left:,} of {len(set(jobs)):,} jobs could not be retried", hint=hint)


@app.command("cancel")
def cancel(job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job. A rendering job ends as cancelled once the provider is done, and its video is kept.

    Example:

        rushes job cancel 019a2b3c-4d5e-7f60-8123-456789abcdef
    """
    with open_api() as client:
        answer = client.post("jobs", job, "cancel")
    later = "will be cancelled: its render cannot be stopped, so the job ends when the render ends"
    outcome = "is cancelled" if answer["outcome"] == "cancelled" else later
    print_answer(answer, f"job {job} {outcome}", as_json=as_json)


@app.command("recheck")
def recheck(
    *, jobs: JobsArgument = None, batch: BatchOption = None, code: CodeOption = None, as_json: JsonOption = False
) -> None:
    """Probe unverified files again, without a download. A job ends as succeeded if its file passes now.

    Use it after an update that can read more formats. Give job ids, or else --batch, --code or both.

    Examples:

        rushes job recheck 019a2b3c-4d5e-7f60-8123-456789abcdef

        rushes job recheck --batch pilot

        rushes job recheck --code output_unverified
    """
    if bool(jobs) == (batch is not None or code is not None):
        hint = "rushes job recheck ID, or rushes job recheck --code output_unverified"
        raise CommandError("give either job ids, or --batch and/or --code", hint=hint, exit_code=BAD_INPUT)
    if not jobs:
        change_jobs("recheck", {"batch": batch, "code": code}, yes=True, dry_run=False, as_json=as_json)
        return
    with open_api() as client:
        for job in jobs:
            print_answer(client.post("jobs", job, "recheck"), f"the file of job {job} is probed again", as_json=as_json)


@app.command("download")
def download(job: JobArgument, *, to: FolderOption = Path(), as_json: JsonOption = False) -> None:
    """Fetch a job's video, or its unverified file (which the probe rejects), into a folder.

    Example:

        rushes job download 019a2b3c-4d5e-7f60-8123-456789abcdef --to videos
    """
    with open_api() as client:
        path = download_file(client, client.get("jobs", job), folder=to)
    print_answer({"file": str(path)}, str(path), as_json=as_json)


def _find_file(events: list[dict[str, Any]]) -> str | None:
    """Return where the video was stored, according to the history."""
    stored = (each["detail"].get("url") for each in reversed(events) if isinstance(each["detail"], dict))
    return next((url for url in stored if url), None)


def _show_facts(job: dict[str, Any], *, file: str | None) -> None:
    error, video, kept = job["error"] or {}, job["video"] or {}, job.get("unverified") or {}
    print_facts(
        {
            "job": job["id"],
            "state": show_state(job["state"]),
            "waits for": job.get("waits_for"),
            "starts": f"about {show_moment(starts)}" if (starts := (job.get("wait") or {}).get("starts_at")) else "",
            "progress": _show_share(job),
            "time left": show_time_left(job.get("time_left"), unknown=job.get("time_left_unknown")),
            "failed": f"{error.get('message')} ({error.get('code')})" if error else "",
            "cancel": "requested" if job["cancel_requested"] and not job["ended_at"] else "",
            "batch": place_of(job),
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
            "file removed": show_moment(video.get("removed_at") or kept.get("removed_at")),
            "video is": _describe_video(video) if video else "",
            "sha256": video.get("sha256"),
            "unverified": kept.get("url"),
            "it is": _describe_kept(kept) if kept else "",
            "it came from": kept.get("source"),
            "probe says": show_text(kept.get("message") or "", limit=500),
            "kept sha256": kept.get("sha256"),
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


def _describe_kept(kept: dict[str, Any]) -> str:
    return f"{kept['bytes']:,} bytes, {kept['content_type'] or 'of no declared type'}"


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
    """Show its state and, for a duplicate purchase, where its video is."""
    shown = ["duplicate" if prediction["is_duplicate"] else "", prediction["video_url"], prediction["unverified_url"]]
    more = ", ".join(each for each in shown if each)
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
