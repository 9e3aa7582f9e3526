"""`python -m tests.chaos --seeds 1,2,3 --jobs 300`: a table of what was broken and what it cost; exits 1 for a cost."""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos.harness import Report, run_seed

COLUMNS = (
    "seed",
    "faults",
    "struck",
    "jobs",
    "ended",
    "succeeded",
    "failed",
    "lost",
    "paid twice",
    "broken",
    "seconds",
)


def main() -> int:
    """0 where every promise held in every run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", "--seeds", dest="seeds", default="1,2,3", help="comma-separated (default: 1,2,3)")
    parser.add_argument("--jobs", type=int, default=300, help="per seed (default: 300)")
    parser.add_argument("--keep", action="store_true", help="keep the logs of runs that broke nothing, too")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    reports = [_run(seed, jobs=options.jobs, keep=options.keep) for seed in seeds]
    print(_tabulate(reports))
    return 1 if any(report.broken for report in reports) else 0


def _run(seed: int, *, jobs: int, keep: bool) -> Report:
    folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
    report = run_seed(seed, jobs=jobs, folder=folder)
    print(f"seed {seed}: {report.seconds:.0f} s, drained in {report.drain_seconds:.0f} s", file=sys.stderr)
    if report.broken:
        print(f"{report.describe()}\nlogs: {folder}", file=sys.stderr)
    elif not keep:
        shutil.rmtree(folder)
    return report


def _tabulate(reports: list[Report]) -> str:
    rows = [[str(cell) for cell in _row(report)] for report in reports]
    widths = [max(len(row[place]) for row in [list(COLUMNS), *rows]) for place in range(len(COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [COLUMNS, *rows]]
    faults: Counter[str] = sum((report.faults for report in reports), Counter())
    strikes: Counter[str] = sum((report.strikes for report in reports), Counter())
    lines += ["", "faults by kind: how often, and how often the provider's struck"]
    lines += [
        f"  {kind:26}{count:5}{f'{strikes[kind]:8}' if kind in strikes else ''}"
        for kind, count in sorted({**dict.fromkeys(strikes, 0), **faults}.items())
    ]
    return "\n".join(lines)


def _row(report: Report) -> tuple[object, ...]:
    return (
        report.seed,
        report.faults.total(),
        report.strikes.total(),
        report.jobs,
        report.ended,
        report.states.get("succeeded", 0),
        report.states.get("failed", 0),
        report.lost,
        report.paid_twice,
        len(report.broken),
        f"{report.seconds:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
