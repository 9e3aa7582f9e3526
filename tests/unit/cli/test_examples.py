"""The example files are what their README says."""

from pathlib import Path

import pytest

from cli.prompt_file.jobs import Fill, prepare_jobs
from cli.prompt_file.parse import read_prompt_file
from rushes.catalog import VIDEO_MODELS

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def test_the_demo_s_prompts_use_every_video_model_of_the_catalogue() -> None:
    prepared = prepare_jobs(read_prompt_file(str(EXAMPLES / "prompts.jsonl")), Fill(), max_jobs=100)
    assert len(prepared.jobs) >= 24
    assert {job["model"] for job in prepared.jobs} == {model.name for model in VIDEO_MODELS}
    assert not prepared.warnings


@pytest.mark.parametrize(
    ("name", "fill", "count"), [("prompts.csv", Fill(), 4), ("prompts.txt", Fill(model="ltx-2-fast"), 3)]
)
def test_every_example_is_accepted(name: str, fill: Fill, count: int) -> None:
    assert len(prepare_jobs(read_prompt_file(str(EXAMPLES / name)), fill, max_jobs=100).jobs) == count
