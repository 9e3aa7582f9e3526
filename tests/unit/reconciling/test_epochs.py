"""The epoch outside the database: what was kept once is never read as less."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from rushes.reconciling.epoch_file import FOLDER, keep_epoch, read_epoch

ACCOUNT, OTHER = uuid4(), uuid4()


def test_the_highest_epoch_is_kept_for_each_account(tmp_path: Path) -> None:
    assert read_epoch(tmp_path, ACCOUNT) == 0
    for epoch in (1, 2, 10, 9):
        keep_epoch(tmp_path, ACCOUNT, epoch)
    keep_epoch(tmp_path, OTHER, 3)
    assert (read_epoch(tmp_path, ACCOUNT), read_epoch(tmp_path, OTHER)) == (10, 3)
    keep_epoch(tmp_path, ACCOUNT, 11)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2  # what is over is removed


def test_a_frozen_leader_that_wakes_up_in_the_middle_lowers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_epoch(tmp_path, ACCOUNT, 41)
    make = Path.mkdir

    def be_frozen_while_another_leads(path: Path, **how: bool) -> None:
        monkeypatch.setattr(Path, "mkdir", make)
        keep_epoch(tmp_path, ACCOUNT, 43)
        path.mkdir(**how)

    monkeypatch.setattr(Path, "mkdir", be_frozen_while_another_leads)
    keep_epoch(tmp_path, ACCOUNT, 42)
    assert read_epoch(tmp_path, ACCOUNT) == 43


def test_many_that_keep_at_once_keep_the_highest(tmp_path: Path) -> None:
    epochs = random.Random(7).sample(range(1, 101), 100)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda epoch: keep_epoch(tmp_path, ACCOUNT, epoch), epochs))
    assert read_epoch(tmp_path, ACCOUNT) == 100


def test_a_folder_that_cannot_be_written_is_reported_and_forgiven(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with capture_logs() as logs:
        keep_epoch(tmp_path, ACCOUNT, 1)
    assert [each["event"] for each in logs] == ["epoch.not_kept"]
    assert read_epoch(tmp_path, ACCOUNT) == 0
