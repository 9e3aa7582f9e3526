"""Render many prompts at once. Before, this was a thread pool around the provider's SDK:

    with ThreadPoolExecutor(20) as pool:
        for output in pool.map(lambda prompt: wavespeed.run(MODEL, {"prompt": prompt})["outputs"][0], prompts):
            ...

A thread waited for each render, a crash lost what was paid for, and a time-out bought it again. Now the prompts are
stored before anything is bought, and this program may be stopped and started at any time.

    python from_thread_pool.py FOLDER PROMPT...
"""

import hashlib
import sys

from rushes_client import Rushes

MODEL = "lightricks/ltx-2-fast/text-to-video"


def main(folder: str, *prompts: str) -> int:
    failed = 0
    with Rushes.from_environment() as rushes:
        # The same reference finds the job of an earlier run.
        jobs = [
            rushes.push(
                MODEL,
                {"prompt": prompt},
                client_ref=hashlib.sha256(prompt.encode()).hexdigest()[:16],
                on_conflict="return",
            )
            for prompt in prompts
        ]
        for job in rushes.as_completed(jobs):
            if job.video is not None:
                print(job.input["prompt"], *rushes.download(job, folder), sep="\t", flush=True)
            else:
                failed += 1
                print(f"{job.input['prompt']}: {job.error.message if job.error else job.state}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
