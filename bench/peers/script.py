"""A script around a thread pool: prompts from a file, as many threads as the account has slots, a folder of videos."""

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
"""Printed when everything is imported; then a line on standard input says when to begin, and another when to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptOptions:
    """What a script is started with."""

    url: str
    key: str
    folder: Path
    prompts: Path
    """A prompt per line."""
    concurrency: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The answer with which a render has ended."""

    prediction: str
    status: str
    outputs: list[str]


Render = Callable[[str], Seen]
"""Buys one prompt's video and returns when it is seen to have ended."""


def run_script(open_render: Callable[[ScriptOptions], Render]) -> None:
    """Render every prompt into `{number}.mp4`; exits with 1 when one of them failed."""
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
    sys.stdin.readline()  # its CPU can be read as long as it lives


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
