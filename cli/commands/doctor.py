"""`rushes doctor`: show what works, what does not, and what to do about it."""

from dataclasses import asdict

from rich.text import Text

from cli.options import JsonOption
from cli.output import print_json, print_table
from stack.errors import FAILED

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def doctor(as_json: JsonOption = False) -> int:
    """Check settings, database, Redis, provider, disk and workers, and give advice. No secret is shown.

    Example:

        rushes doctor

    Exit codes: 0 no check failed, 1 a check failed.
    """
    from cli.doctor.checks import check_everything  # noqa: PLC0415 - its libraries would slow down every other command

    checks = check_everything()
    failed = any(check.status == "failed" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        rows = [(Text(each.status, style=_COLOURS[each.status]), each.name, each.message) for each in checks]
        print_table(("STATUS", "CHECK", "FOUND"), rows)
        for check in checks:
            if check.advice:
                print(f"{check.name}: {check.advice}")
    return FAILED if failed else 0
