"""`rushes audit`: check every guarantee against the rows and, on request, against the bytes of every file."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli.options import JsonOption
from cli.output import print_json, print_line, print_table
from stack.errors import FAILED

if TYPE_CHECKING:
    from rushes.monitoring.audit import Finding

FilesOption = Annotated[bool, typer.Option("--files", help="Also read and hash every stored file.")]
_COLOURS = {"ok": "green", "broken": "bold red"}


def audit(*, files: FilesOption = False, as_json: JsonOption = False) -> int:
    """Check every rule of the system against its rows. It reads the database directly and is safe on a running system.

    Examples:

        rushes audit

        rushes audit --files --json

    Exit codes: 0 every rule holds, 1 a rule is broken, 3 the database is away.
    """
    from cli.commands.audit_report import find_everything  # noqa: PLC0415 - its libraries would slow down every other command

    findings = find_everything(files=files)
    broken = [each for each in findings if each.is_broken]
    if as_json:
        print_json({"ok": not broken, "rules": [asdict(each) | {"ok": not each.is_broken} for each in findings]})
    else:
        _show(findings)
    return FAILED if broken else 0


def _show(findings: Sequence["Finding"]) -> None:
    rows = []
    for each in findings:
        status = "broken" if each.is_broken else "ok"
        rows.append((Text(status, style=_COLOURS[status]), each.name, each.count, " ".join(each.examples)))
    print_table(("STATUS", "RULE", "COUNT", "EXAMPLES"), rows)
    for each in findings:
        if each.is_broken:
            print_line(f"{each.name}: {each.sentence}")
