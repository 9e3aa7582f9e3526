"""`python -m sandbox.wavespeed`: read the options, print one line with the URL, then serve."""

import argparse
import json
import logging
import sys
from typing import get_origin

from pydantic import ValidationError

from sandbox.wavespeed.settings import SimulatorSettings
from sandbox.wavespeed.state.faults import FAULTS
from sandbox.wavespeed.state.journal import DamagedJournal

EXAMPLES = """\
examples:
  python -m sandbox.wavespeed --port 9000 --api-key test
      300 slots, 500 submissions a minute; renders take about 100 s
  python -m sandbox.wavespeed --port 0 --api-key test --slots 2 --overflow refuse --speed 100
      429 for a third render at the same time; renders take about 1 s
  python -m sandbox.wavespeed --port 0 --api-key test --slots 50 --submits-per-minute 600 \\
      --fault submit_504=0.05 --fault 'task_failed={"probability": 0.1, "prompt": "cat"}'
      5 % of the submissions are charged but their answer is lost, 10 % of the renders of cats fail

while it runs (only from this machine, without a key):
  GET /sim/{stats,tasks,times}                              what has happened
  PUT /sim/faults {"get_5xx": {"status": 502, "count": 3}}  switch faults on; GET and DELETE as well

faults (--fault NAME=PROBABILITY or NAME=JSON). All take probability, count, prompt (part of it) and
kind (of request). Some take more, shown with their defaults:
"""


def read_settings(arguments: list[str] | None = None) -> SimulatorSettings:
    """The settings for these arguments, by default the command line's. Exits with 2 if one is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.wavespeed",
        description='A simulator of the WaveSpeed API. Prints {"url": ...} when it is ready and serves until it is '
        "stopped.",
        epilog=EXAMPLES + _describe_faults(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    for name, field in SimulatorSettings.model_fields.items():
        default = f" (default: {field.default})" if field.default else ""
        parser.add_argument(
            _name_option(field.alias or name),
            dest=field.alias or name,
            metavar=name.upper(),
            action="append" if get_origin(field.annotation) is dict else "store",
            help=f"{field.description}{' (required)' if field.is_required() else default}",
        )
    try:
        return SimulatorSettings(**vars(parser.parse_args(arguments)))
    except ValidationError as error:
        parser.error("; ".join(f"{_name_option(str(each['loc'][0]))}: {each['msg']}" for each in error.errors()))


def main(arguments: list[str] | None = None) -> None:
    """Run the simulator. Exits with 2 for wrong options, with 1 if the address or the journal cannot be used."""
    settings = read_settings(arguments)
    from sandbox.wavespeed.http.server import serve  # noqa: PLC0415 - so that --help is fast

    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    try:
        serve(settings)
    except (OSError, DamagedJournal) as error:
        sys.exit(f"error: {error}")


def _name_option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _describe_faults() -> str:
    lines = []
    for name, each in FAULTS.items():
        extra = ", ".join(f"{key}={json.dumps(value)}" for key, value in each.particulars.items())
        lines.append(f"  {name:26}{each.about}{f' ({extra})' if extra else ''}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
