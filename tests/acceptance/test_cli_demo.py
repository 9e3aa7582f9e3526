"""`rushes demo`, which is what `make demo` runs."""

import shutil
from pathlib import Path

import pytest

from tests.support.cli_process import find_left, run_rushes, start_rushes

HOSTILE = {
    "WAVESPEED_API_KEY": "a-key-that-costs-money",
    "RUSHES_SLOTS": "nonsense",
    "RUSHES_REDIS_URL": "redis://x:1/0",
}
"""What a person may have set for other purposes: the demo must use none of it."""


def scratch(folder: Path) -> Path:
    (folder / "tmp").mkdir()
    return folder / "tmp"


@pytest.mark.timeout(240)
def test_the_demo_renders_its_examples_for_nothing_and_cleans_up(tmp_path: Path) -> None:
    temporary = scratch(tmp_path)
    with start_rushes("demo", folder=tmp_path, TMPDIR=str(temporary), **HOSTILE) as rushes:
        rushes.wait_for("WAVESPEED_API_KEY is not used here: rendering with the simulator, nothing is spent")
        assert rushes.wait() == 0, rushes.text
    said = {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in rushes.lines if "  " in line}
    assert (said["jobs"], said["succeeded"], said["failed"]) == ("24", "24", "0")
    assert said["spent"] == "$8.86 (simulated)"
    assert said["mean"].endswith("s from push to file")
    assert "24 submit" in said["requests to the provider"]
    batch = Path(said["folder"])
    assert batch.parent == tmp_path / "renders"
    assert sorted(int(path.name.split("-")[0]) for path in batch.glob("*.mp4")) == list(range(1, 25))
    assert "24/24 done" in rushes.text
    _, step, then, *_ = rushes.lines[-1].split("`")
    assert (step.endswith("rushes up --fast"), then) == (True, " keeps a farm running; ")
    assert shutil.which(step.split()[0])  # it works as typed
    assert list(temporary.iterdir()) == []
    assert find_left(temporary) == []


@pytest.mark.timeout(240)
def test_an_interrupted_demo_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    temporary = scratch(tmp_path)
    with start_rushes("demo", folder=tmp_path, TMPDIR=str(temporary)) as rushes:
        rushes.wait_for("rendering,")
        rushes.interrupt()
        assert rushes.wait() == 130, rushes.text
    assert rushes.lines[-1] == "error: interrupted"
    assert list(temporary.iterdir()) == []
    assert find_left(temporary) == []


def test_a_video_folder_that_cannot_be_made_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "renders").touch()
    ended = run_rushes("demo", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {tmp_path}/renders: file exists")
