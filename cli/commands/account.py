"""`rushes account`: the limits, health and costs of the provider's account, and whether it submits."""

from typing import Any

import typer

from cli.api import open_api
from cli.options import JsonOption
from cli.output import print_facts, print_json, show_money, show_text

app = typer.Typer(help="The account: limits, health and money.", no_args_is_help=True)


@app.command("show")
def show(as_json: JsonOption = False) -> None:
    """Show the account's limits and costs, and why it does not submit if it does not.

    Example:

        rushes account show
    """
    with open_api() as client:
        _print(client.get("account"), as_json=as_json)


@app.command("pause")
def pause(as_json: JsonOption = False) -> None:
    """Submit nothing until the account is resumed. Renders in progress are watched and stored.

    Example:

        rushes account pause
    """
    with open_api() as client:
        _print(client.post("account", "pause"), as_json=as_json)


@app.command("resume")
def resume(as_json: JsonOption = False) -> None:
    """Submit again.

    After a restore, run this only if the predictions named under `paused` in `rushes account show` belong to none of
    your jobs. If one of them does belong to a job, you pay for that job twice.

    Example:

        rushes account resume
    """
    with open_api() as client:
        _print(client.post("account", "resume"), as_json=as_json)


@app.command("retry")
def retry(as_json: JsonOption = False) -> None:
    """Try again now, after you have topped up the account, replaced the key or repaired the network.

    Without this command, Rushes tries again by itself when the wait after the last failure is over.

    Example:

        rushes account retry
    """
    with open_api() as client:
        _print(client.post("account", "retry"), as_json=as_json)


@app.command("accept-store")
def accept_store(as_json: JsonOption = False) -> None:
    """Store videos in the current folder, although it does not contain the marker file of the previous folder.

    If the volume is only not mounted, mount it instead: Rushes does not find the earlier videos in another folder.

    Example:

        rushes account accept-store
    """
    with open_api() as client:
        _print(client.post("account", "accept-store"), as_json=as_json)


def _describe_store(store: dict[str, Any]) -> str:
    free = store.get("free_bytes")
    return store.get("problem") or (f"{free / 10**9:,.1f} GB free" if free is not None else "")


def _print(account: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(account)
        return
    cost, status = account["cost"], account["status"] or {}
    stale = ", ".join(f"{count:,} {kind}" for kind, count in sorted(account["stale_writes"].items()))
    print_facts(
        {
            "account": account["name"],
            "status": show_text(status.get("message", "takes submissions"), limit=500),
            "what to do": status.get("what_to_do", ""),
            "store": show_text(_describe_store(account.get("store") or {}), limit=500),
            "outputs": show_text((account.get("outputs") or {}).get("detail", ""), limit=500),
            "slots": account["effective_slots"] or account["slots"],
            "submits per minute": account["submits_per_minute"],
            "today": f"{show_money(account['spent_today'])} of {show_money(cap)} held or spent (UTC)"
            if (cap := account.get("max_spend_per_day"))
            else "",
            "held": show_money(cost["held"]),
            "spent": show_money(cost["spent"]),
            "refunded": show_money(cost["refunded"]),
            "duplicates": f"{count:,} ({show_money(cost['duplicate'])})" if (count := account["duplicates"]) else "",
            "unknown": f"{count:,} prediction(s) in seven days that no job asked for"
            if (count := account.get("unknown_predictions"))
            else "",
            "check price": f"{price:g} s of delay per request" if (price := account.get("check_price")) else "",
            "stale writes": stale,
        }
    )
