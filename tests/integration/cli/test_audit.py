"""`rushes audit` on real Postgres and real files."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from cli.app import main
from rushes.artifacts.store import open_store
from tests.support import rows
from tests.support.rows import open_session

Run = Callable[..., tuple[int, str, str]]
CONTENT = b"a video"
RULES = 16


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], database_url: str) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RUSHES_DATABASE_URL", database_url)

    def run_command(*words: str) -> tuple[int, str, str]:
        code = main(["audit", *words])
        return (code, *capsys.readouterr())

    return run_command


def add_duplicate(database_url: str) -> UUID:
    with open_session(database_url) as session:
        job = rows.add_job(session)
        duplicate = rows.add_prediction(session, job, rows.add_account(session), "rendering", is_duplicate=True)
        session.commit()
    return duplicate


def add_video(database_url: str, folder: Path) -> Path:
    store = open_store((folder / "data" / "artifacts").as_uri())
    draft = store.scratch() / "draft"
    draft.write_bytes(CONTENT)
    (url,) = store.publish((draft, "jobs/a.mp4"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    with open_session(database_url) as session:
        render = rows.add_render(session, "completed")
        columns = {"kind": "video", "url": url, "bytes": len(CONTENT), "sha256": digest}
        rows.insert(session, "artifact", job_id=render.job_id, prediction_id=render.prediction_id, **columns)
        session.commit()
    path = store.find_path(url)
    assert path is not None
    return path


def test_every_rule_that_holds_is_reported_as_ok(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    heading, *lines = out.splitlines()
    assert heading.split() == ["STATUS", "RULE", "COUNT", "EXAMPLES"]
    assert len(lines) == RULES
    assert {(line.split()[0], line.split()[2]) for line in lines} == {("ok", "0")}


def test_a_broken_rule_is_reported_with_its_rows_and_exit_code_1(run: Run, database_url: str) -> None:
    duplicate = add_duplicate(database_url)
    code, out, _ = run()
    assert code == 1
    assert ["broken", "no_duplicate", "1", str(duplicate)] in [line.split() for line in out.splitlines()]
    assert "no_duplicate: the prediction was found after it had been marked not found or refused" in out
    code, out, _ = run("--json")
    reported = json.loads(out)
    assert (code, reported["ok"]) == (1, False)
    (broken,) = [each for each in reported["rules"] if not each["ok"]]
    assert (broken["name"], broken["count"], broken["examples"]) == ("no_duplicate", 1, [str(duplicate)])


def test_files_are_hashed_on_request_only(run: Run, database_url: str, tmp_path: Path) -> None:
    video = add_video(database_url, tmp_path)
    assert run("--files")[0] == 0
    video.write_bytes(CONTENT.upper())
    assert run()[0] == 0
    code, out, _ = run("--files", "--json")
    assert code == 1
    assert [each["name"] for each in json.loads(out)["rules"] if not each["ok"]] == ["files_unchanged"]


def test_a_database_that_is_not_migrated_is_no_audit(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE alembic_version")
    code, out, err = run()
    assert (code, out) == (1, "")
    assert err.startswith("error: the database is empty, this version needs ")


def test_a_database_that_is_away_is_exit_code_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    code, out, err = run()
    assert (code, out) == (3, "")
    assert err.startswith("error: the database cannot be reached\nhint: start it")
