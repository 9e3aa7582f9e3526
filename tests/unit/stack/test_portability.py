"""What macOS does differently, as far as another system can show it."""

import fcntl
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rushes.artifacts import store as store_module
from rushes.artifacts.store import ArtifactStore
from sandbox.servers import EmbeddedPostgres, child
from sandbox.servers import postgres as embedded_postgres
from sandbox.servers.holders import find_pids

ROOT = Path(__file__).resolve().parents[3]
ALLOW = "from stack.processes import allow_open_files as allow; import resource as r"
SHOW = "allow(); print(*r.getrlimit(r.RLIMIT_NOFILE))"


def test_a_server_s_lock_is_found_under_another_spelling(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "DATA").symlink_to("data")  # one folder, as without a difference of case
    with (tmp_path / "data" / "server.lock").open("w") as file:
        holder = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[file.fileno()])
    try:
        assert find_pids(str(tmp_path / "DATA" / "server.lock")) == [holder.pid]
    finally:
        holder.kill()
        holder.wait()


def test_root_starts_no_server_where_it_cannot_give_up_its_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "LINUX", False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "umask", lambda _: None)
    with pytest.raises(SystemExit, match="start Rushes as an ordinary user"):
        child.drop_root(tmp_path)


def test_a_stored_file_leaves_the_drive_s_cache_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[int, int]] = []
    monkeypatch.setattr(store_module, "_FLUSH_DRIVE", 51)
    monkeypatch.setattr(fcntl, "fcntl", lambda file, command: flushed.append((os.fstat(file).st_ino, command)))
    store = ArtifactStore(tmp_path)
    source = store.scratch() / "claim"
    source.write_bytes(b"film")
    expected = (source.stat().st_ino, 51)
    store.publish((source, "1.mp4"))
    assert expected in flushed


@pytest.mark.parametrize(("platform", "is_set"), [("darwin", True), ("linux", False)])
def test_a_commit_leaves_the_drive_s_cache_on_macos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, is_set: bool
) -> None:
    monkeypatch.setattr(embedded_postgres, "find_binary", lambda *_: Path("postgres"))
    monkeypatch.setattr(sys, "platform", platform)
    server = EmbeddedPostgres(tmp_path)
    server._port = 5432
    assert ("wal_sync_method=fsync_writethrough" in server._command()) is is_set


@pytest.mark.parametrize(("allowed", "found"), [(256, 10_240), (12_000, 12_000)])
def test_the_processes_of_a_stack_may_open_enough_files(allowed: int, found: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = f"r.setrlimit(r.RLIMIT_NOFILE, ({allowed}, {hard}))"
    said = subprocess.run(
        [sys.executable, "-c", f"{ALLOW}; {limit}; {SHOW}"], cwd=ROOT, capture_output=True, check=True
    )
    assert said.stdout.split() == [str(found).encode(), str(hard).encode()]


def test_the_makefile_needs_no_gnu_tools() -> None:
    """macOS has GNU make 3.81 and the tools of BSD."""
    text = (ROOT / "Makefile").read_text()
    gnu_only = [
        r"\bsed\b[^|\n]*\\[ntwsb+?|]",  # BSD knows no such escapes
        r"\bsed -i",
        r"\bgrep -\w*P",
        r"\b(?:readlink -f|realpath|nproc|tac|timeout|date -d|stat -c|cp -\w*[lt]|xargs -\w*[rd]|find -)\b",
        r"\.ONESHELL|!=|\$\((?:file|guile) |\blet\b",  # younger than make 3.81
    ]
    assert {pattern: found for pattern in gnu_only if (found := re.findall(pattern, text))} == {}


def test_make_help_lists_every_documented_command() -> None:
    command = ["make", "help"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # a test of `make test`
    said = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    documented = re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert [tuple(re.split(r" {1,}", line.strip(), maxsplit=2)[1:]) for line in said.splitlines()] == documented
