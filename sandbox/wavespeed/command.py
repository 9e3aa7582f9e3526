"""The command line of the simulator: read the options, print one line with the URL, then serve."""

import argparse
import json
import logging
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from rushes.errors import Refused
from sandbox.wavespeed.settings import REFUNDABLE, TIERS, SimulatorSettings, Tier
from sandbox.wavespeed.state.faults import FAULTS, read_rule
from sandbox.wavespeed.state.journal import DamagedJournal

EXAMPLES = """\
examples:
  python -m sandbox.wavespeed --port 9000 --api-key test
      an account in the silver tier; renders take about 100 s
  python -m sandbox.wavespeed --port 0 --api-key test --tier bronze --overflow refuse --speed 100
      2 slots, 2 submissions a minute, 429 for a third render, renders take about 1 s
  python -m sandbox.wavespeed --port 0 --api-key test --slots 50 --submits-per-minute 600 \\
      --fault submit_504=0.05 --fault 'task_failed={"probability": 0.1, "model": "*/ltx-2-pro/*"}'
      5 % of the submissions are charged but their answer is lost, 10 % of the Pro renders fail

while it runs (only from this machine, without a key):
  GET /sim/{stats,tasks,times,ledger,account}               what has happened
  PUT /sim/faults {"get_5xx": {"status": 502, "count": 3}}  switch faults on; GET and DELETE as well
  PUT /sim/account {"slots": 10, "balance": 5}              change limits and money

faults (--fault NAME=PROBABILITY or NAME=JSON). All take probability, count, duration (seconds),
model (pattern of ids), prompt (part of it) and kind (of request). Some take more, shown with their defaults:
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.wavespeed",
        description='A simulator of the WaveSpeed API. Prints {"url": ...} when it is ready and serves until it is '
        "stopped.",
        epilog=EXAMPLES + _describe_faults(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--api-key", action="append", required=True, metavar="KEY", help="a key of the account; may be repeated"
    )
    parser.add_argument("--log-level", default="warning", choices=("debug", "info", "warning", "error"))
    _add_account_options(parser.add_argument_group("account"))
    _add_render_options(parser.add_argument_group("renders"))
    _add_webhook_options(parser.add_argument_group("webhooks"))
    _add_own_options(parser.add_argument_group("the simulator itself"))
    return parser


def _add_account_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tier", choices=tuple(TIERS), default="silver", help="limits (default: %(default)s)")
    group.add_argument("--slots", type=int, help="renders at the same time, instead of the tier's")
    group.add_argument("--submits-per-minute", type=int, metavar="N", help="instead of the tier's")
    group.add_argument(
        "--overflow",
        choices=("queue", "refuse"),
        default="queue",
        help="a task beyond the slots waits as `created`, or is answered 429 (default: %(default)s)",
    )
    group.add_argument("--balance", type=_money, default=Decimal(100_000), metavar="DOLLARS", help="(default: 100000)")
    group.add_argument(
        "--no-credit-status", type=int, default=402, metavar="STATUS", help="answer without credit (default: 402)"
    )
    group.add_argument(
        "--refund",
        action="append",
        choices=REFUNDABLE,
        help="endings that are refunded; may be repeated (default: all but deleted)",
    )
    group.add_argument(
        "--refund-delay", type=float, default=0.0, metavar="SECONDS", help="until a refund appears (default: 0)"
    )


def _add_render_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--median", type=float, default=100.0, metavar="SECONDS", help="of render times (default: 100)")
    group.add_argument("--sigma", type=float, default=0.5, help="of their logarithm (default: 0.5)")
    group.add_argument("--cap", type=float, default=600.0, metavar="SECONDS", help="longest render time (default: 600)")
    group.add_argument(
        "--speed", type=float, default=1.0, metavar="FACTOR", help="divides render times, nothing else (default: 1)"
    )
    group.add_argument(
        "--retention", type=float, default=604_800.0, metavar="SECONDS", help="keep tasks this long (default: 7 days)"
    )
    group.add_argument(
        "--sync-wait", type=float, default=90.0, metavar="SECONDS", help="limit of enable_sync_mode (default: 90)"
    )


def _add_webhook_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--webhook-secret", metavar="SECRET", help="(default: made from the first key)")
    group.add_argument("--webhook-retries", type=int, default=3, metavar="N", help="(default: 3)")
    group.add_argument(
        "--webhook-backoff", type=float, default=1.0, metavar="SECONDS", help="first pause, doubled each time (1)"
    )
    group.add_argument("--webhook-timeout", type=float, default=10.0, metavar="SECONDS", help="(default: 10)")


def _add_own_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--fault", action="append", default=[], metavar="NAME=VALUE", type=_fault, help="see below")
    group.add_argument("--seed", type=int, default=1, help="of all random choices: times and faults (default: 1)")
    group.add_argument("--journal", type=Path, metavar="FILE", help="keep tasks and ledger across restarts")
    group.add_argument(
        "--show-prompts",
        action="store_true",
        help="videos show their prompts, which costs 0.1 s of processor time each",
    )


def read_settings(options: argparse.Namespace) -> SimulatorSettings:
    """The settings for the options of a command line."""
    tier = TIERS[options.tier]
    return SimulatorSettings(
        api_keys=tuple(options.api_key),
        tier=Tier(
            slots=tier.slots if options.slots is None else options.slots,
            submits_per_minute=(
                tier.submits_per_minute if options.submits_per_minute is None else options.submits_per_minute
            ),
        ),
        overflow=options.overflow,
        median_seconds=options.median,
        sigma=options.sigma,
        cap_seconds=options.cap,
        speed=options.speed,
        balance=options.balance,
        no_credit_status=options.no_credit_status,
        refund_delay=options.refund_delay,
        refunded=frozenset(options.refund or set(REFUNDABLE) - {"deleted"}),
        retention_seconds=options.retention,
        sync_seconds=options.sync_wait,
        webhook_secret=options.webhook_secret,
        webhook_retries=options.webhook_retries,
        webhook_backoff=options.webhook_backoff,
        webhook_timeout=options.webhook_timeout,
        seed=options.seed,
        show_prompts=options.show_prompts,
        journal=options.journal,
        faults=dict(options.fault),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the simulator. Exits with 2 for wrong options, with 1 if the address or the journal cannot be used."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.speed <= 0 or options.median <= 0:
        parser.error("--speed and --median must be above 0")
    from sandbox.wavespeed.http.server import serve  # noqa: PLC0415 - so that --help is fast

    logging.basicConfig(level=options.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(read_settings(options), host=options.host, port=options.port, log_level=options.log_level)
    except (OSError, DamagedJournal) as error:
        sys.exit(f"error: {error}")


def _describe_faults() -> str:
    lines = []
    for name, each in FAULTS.items():
        extra = ", ".join(f"{key}={json.dumps(value)}" for key, value in each.particulars.items())
        lines.append(f"  {name:26}{each.about}{f' ({extra})' if extra else ''}")
    return "\n".join(lines)


def _fault(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        rule = json.loads(value or "1")
        read_rule(name, rule)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is neither a probability nor a JSON object") from None
    except Refused as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name, rule


def _money(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
