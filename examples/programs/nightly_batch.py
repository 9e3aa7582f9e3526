"""Push a file of prompts as a batch, such as nightly-2026-11-30, wait for it, and fetch its videos.

    python nightly_batch.py PROMPTS FOLDER NAME

Run it again with the same name and prompts after a crash or an interruption: it continues, and buys nothing twice.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rushes_client import Rushes


def read_jobs(prompts: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(prompts.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            yield {"model": "ltx-2-fast", "input": {"prompt": line.strip()}, "client_ref": f"shot-{number:04}"}


def main(prompts: str, folder: str, name: str) -> int:
    with Rushes.from_environment() as rushes:
        batch = rushes.push_many(read_jobs(Path(prompts)), name=name)
        print(f"{batch.name}: {batch.jobs} jobs", file=sys.stderr)
        batch = rushes.wait(batch)
        for job in rushes.list_jobs(batch=batch.name, state="failed"):
            print(f"{job.client_ref}: {job.error.message if job.error else ''}", file=sys.stderr)
        for path in rushes.download(batch, folder):
            print(path)
    return 0 if batch.states["succeeded"] == batch.jobs else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
