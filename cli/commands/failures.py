"""`rushes failures`: why jobs failed, in groups."""

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.choosing import read_moment, read_which
from cli.options import JsonOption
from cli.output import batch_of, note, place_of, print_facts, print_json, print_line, show_moment, show_money, show_text
from cli.prompt_file.options import gather


@gather(which=read_which)
def failures(
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only jobs that failed since then: 1h, or 2026-01-01T12:00Z.")
    ] = None,
    which: dict[str, Any],
    as_json: JsonOption = False,
) -> None:
    """Group failed jobs by failure code and message, the largest group first.

    Messages that differ only in addresses, ids and numbers count as the same.

    Examples:

        rushes failures --since 1h

        rushes failures --batch pilot --code provider --json
    """
    after = since and read_moment(since, option="--since")
    with open_api() as client:
        found = client.get("failures", **which, ended_after=after)
    if as_json:
        print_json(found)
        return
    for group in found["items"]:
        _show_group(group)
    print_line(_count(found["jobs"], "failed job"))
    if found["items"]:
        _hint(found["items"][0])


def _show_group(group: dict[str, Any]) -> None:
    print_line(f"{_count(group['jobs'], 'job')}: {group['code']}")
    print_facts(
        {
            "  message": show_text(group["message"], limit=500),
            "  cost": f"{show_money(group['spent'])} spent, {show_money(group['price'])} to render again",
            "  models": ", ".join(group["models"]),
            "  first": show_moment(group["first_at"]),
            "  last": show_moment(group["last_at"]),
            "  such as": ", ".join(place_of(each) or each["id"] for each in group["samples"]),
        }
    )
    print_line("")


def _hint(group: dict[str, Any]) -> None:
    sample = group["samples"][0]
    job = place_of(sample) or sample["id"]
    retry = f"batch retry {batch_of(sample)} --code {group['code']}" if sample["batch"] else f"job retry {job}"
    note(f"hint: `rushes job show {job}` shows one of them; `rushes {retry}` tries again")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
