"""`rushes key` and `rushes tenant` on a real API, and the first key on the database alone."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from cli.app import main
from rushes.access.keys import is_well_formed
from tests.support import rows
from tests.support.access import KEY
from tests.support.api_server import Api, serve_api

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr("rushes.access.callers.KEY_CACHED_SECONDS", 0)
    with serve_api(database_url, tmp_path) as served:
        yield served


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], database_url: str) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("RUSHES_DATABASE_URL", database_url)

    def run_command(*words: str, api: Api | None = None, key: str = KEY) -> tuple[int, str, str]:
        monkeypatch.setenv("RUSHES_API_KEY", key)
        monkeypatch.setenv("RUSHES_URL", str(api.client.base_url) if api else "http://127.0.0.1:9")
        code = main(list(words))
        out, err = capsys.readouterr()
        lines = out.splitlines(keepends=True)  # the API logs here too, since it runs in this process
        return code, "".join(each for each in lines if "request.answered" not in each), err

    return run_command


def test_a_key_is_made_used_rotated_and_revoked(api: Api, run: Run) -> None:
    assert run("tenant", "create", "acme", api=api)[:2] == (0, "tenant acme is created\n")
    code, out, err = run("key", "create", "nightly", "-t", "acme", "--scope", "read", "--expires", "90d", api=api)
    old = out.strip()
    assert (code, is_well_formed(old), out.count("\n"), old in err) == (0, True, 1, False)
    assert "name    acme/nightly\nscopes  read\n" in run("key", "current", api=api, key=old)[1]
    code, out, err = run("key", "rotate", "nightly", "--overlap", "0s", api=api)
    new = out.strip()
    assert (code, is_well_formed(new), new != old) == (0, True, True)
    assert run("key", "current", api=api, key=old)[0] == 2
    assert run("key", "current", api=api, key=new)[0] == 0
    assert run("key", "revoke", new, api=api)[0] == 0
    assert run("key", "current", api=api, key=new)[0] == 2
    listed = run("key", "list", "-t", "acme", "--all", api=api)[1]
    assert [word for word in listed.split() if word in {"expired", "revoked"}] == ["expired", "revoked"]
    assert "no such keys" in run("key", "list", "-t", "acme", api=api)[2]
    assert run("tenant", "disable", "acme", api=api)[0] == run("tenant", "enable", "acme", api=api)[0] == 0
    assert run("tenant", "list", api=api)[1].splitlines()[2].split()[0] == "acme"
    log = run("audit-log", "--since", "1h", "--action", "tenant", api=api)[1].splitlines()
    assert [line.split()[3:5] for line in log[1:]] == [
        ["tenant.enable", "acme"],
        ["tenant.disable", "acme"],
        ["tenant.create", "acme"],
    ]


def test_a_name_that_two_usable_keys_have_is_refused(api: Api, run: Run) -> None:
    keys = [run("key", "create", "twin", api=api)[1].strip() for _ in range(2)]
    code, out, err = run("key", "revoke", "twin", api=api)
    assert (code, out) == (2, "")
    assert "2 usable keys are named 'twin'" in err
    assert [key[-4:] in err for key in keys] == [True, True]
    assert run("key", "revoke", keys[0], api=api)[0] == 0
    assert run("key", "revoke", "twin", api=api)[0] == 0


def test_the_first_key_needs_no_api(run: Run, database_url: str) -> None:
    code, out, err = run("key", "bootstrap")
    assert (code, out) == (2, "")
    assert err.startswith("error: a usable key with the scope admin exists already\nhint: ")
    with rows.open_session(database_url) as session:
        rows.change(session, "api_key", revoked_at=rows.NOW)
        session.commit()
    code, out, err = run("key", "bootstrap")
    assert (code, is_well_formed(out.strip()), out.strip() in err) == (0, True, False)
    code, out, _ = run("key", "bootstrap", "--force", "--json")
    made = json.loads(out)
    assert (code, made["tenant"], len(made["scopes"])) == (0, "default", 5)


def test_a_database_that_is_not_migrated_gets_no_key(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE alembic_version")
    code, out, err = run("key", "bootstrap")
    assert (code, out) == (1, "")
    assert "hint: run `alembic upgrade head`" in err
