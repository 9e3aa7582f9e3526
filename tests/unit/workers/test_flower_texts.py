"""What Flower shows of a step: its id, and the job in its result."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from rushes.runtime import name_job
from rushes.storing.failures import StoreDelayed
from workers.dispatcher.publisher import name_step
from workers.tasks import TriedAgain

JOB = UUID("019a2b3c-4d5e-7f60-8123-456789abcdef")
PREDICTION = UUID("019a2b3c-4d5f-7f60-8123-0123456789ab")
MODEL = "lightricks/ltx-2-fast/text-to-video"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("pilot/7", "poll-pilot/7-456789ab-1-12"),
        ("p" * 64 + "/100000", f"poll-{'p' * 24}/100000-456789ab-1-12"),
        (str(JOB), f"poll-{JOB}-456789ab-1-12"),
    ],
)
def test_a_step_s_id_names_the_job_and_is_short(place: str, name: str) -> None:
    assert name_step("poll", place, PREDICTION, 1, 12) == name


@pytest.mark.parametrize(
    ("prompt", "shown", "name"),
    [
        ("a fox", False, "pilot/7 ltx-2-fast"),
        (None, True, "pilot/7 ltx-2-fast"),
        ("a red fox\nruns over the snow and away", True, 'pilot/7 ltx-2-fast "a red fox runs over the..."'),
        ("x" * 99, True, 'pilot/7 ltx-2-fast "..."'),
    ],
)
def test_a_job_is_named_without_its_prompt_unless_that_is_wanted(prompt: str | None, shown: bool, name: str) -> None:
    runtime: Any = SimpleNamespace(settings=SimpleNamespace(flower_prompts=shown))
    assert name_job(runtime, "pilot/7", MODEL, prompt) == name


def test_a_video_model_that_was_removed_keeps_its_id() -> None:
    runtime: Any = SimpleNamespace(settings=SimpleNamespace(flower_prompts=False))
    assert name_job(runtime, "pilot/7", "old/model", None) == "pilot/7 old/model"


def test_a_step_that_is_repeated_shows_its_error_alone() -> None:
    error = StoreDelayed("status 503 from h; tried again in 3 s")
    shown = TriedAgain(str(error), exc=error)
    assert (repr(shown), str(shown)) == (repr(error), str(error))
