"""A script around a thread pool: prompts from a file, one thread per slot of the account, a folder of videos."""

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.peers.sightings import note_sighting

MODEL = "lightricks/ltx-2-fast/text-to-video"
READY = "ready"
"""Printed once everything is imported; one line on standard input then starts the work, and another ends the script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptOptions:
    """The options of a script."""

    url: str
    key: str
    folder: Path
    prompts: Path
    """A prompt per line."""
    concurrency: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer that shows the end of a render."""

    prediction: str
    status: str
    outputs: list[str]


Render = Callable[[str], Seen]
"""Buys one prompt's video and returns once it sees the end of the render."""


def run_script(open_render: Callable[[ScriptOptions], Render]) -> None:
    """Render every prompt into `{number}.mp4`; exits with 1 if one of them failed."""
    options = _read_options()
    render = open_render(options)
    prompts = options.prompts.read_text().splitlines()
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with ThreadPoolExecutor(options.concurrency) as pool:
        rendering = [
            pool.submit(_make_video, options, render, f"{job}", prompt=prompt) for job, prompt in enumerate(prompts)
        ]
    failures = [repr(error) for each in rendering if (error := each.exception()) is not None]
    if failures:
        sys.exit(f"{len(failures)} of {len(prompts)} failed, the first with {failures[0]}")
    sys.stdin.readline()  # its CPU time can only be read while it lives


def _make_video(options: ScriptOptions, render: Render, job: str, *, prompt: str) -> None:
    seen = render(prompt)
    note_sighting(options.folder, job=job, prediction=seen.prediction, status=seen.status)
    if seen.status != "completed":
        raise RuntimeError(f"{seen.prediction} {seen.status}")
    answer = requests.get(seen.outputs[0], timeout=60)
    answer.raise_for_status()
    (options.folder / f"{job}.mp4").write_bytes(answer.content)


def _read_options() -> ScriptOptions:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--concurrency", required=True, type=int)
    return ScriptOptions(**vars(parser.parse_args()))
