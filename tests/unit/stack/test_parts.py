"""What a stack is made of: ports, the data folder, environments, command lines, the end of a log."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rushes.settings import SERVICES_FILE, load_settings
from sandbox.servers.ports import PortHold
from stack.data_folder import get_flower_password, hold_folder, remove_services, write_services
from stack.errors import CommandError
from stack.ports import find_free_port, read_listen_address, web_url
from stack.processes import (
    api_command,
    default_settings,
    flower_command,
    process_environment,
    run_as_module,
    simulator_command,
    spell_settings,
    step_worker_command,
    store_worker_command,
)
from stack.run import LogFollower

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_free_port_is_kept_and_a_used_one_replaced_by_the_next(taken_port: int) -> None:
    found = find_free_port("127.0.0.1", taken_port)
    assert taken_port < found < taken_port + 100
    hold = PortHold()  # from whoever asks for any port meanwhile
    hold.take(found)
    assert find_free_port("127.0.0.1", found) == found
    assert find_free_port("127.0.0.1", found, taken={found}) > found
    hold.release()


def test_a_port_that_another_stack_has_chosen_is_not_held_again() -> None:
    port = find_free_port("127.0.0.1", 0)
    first, second = PortHold(), PortHold()
    is_exclusive = sys.platform == "linux"  # elsewhere nothing is held
    assert [first.take(port), second.take(port), first.take(port)] == [True, not is_exclusive, True]
    first.release()
    assert second.take(port)
    second.release()


def test_port_0_asks_for_any_port() -> None:
    assert find_free_port("127.0.0.1", 0) > 1023


def test_an_address_that_is_not_this_machine_s_is_refused() -> None:
    with pytest.raises(CommandError, match=r"nothing can listen at 192\.0\.2\.1:8000"):
        find_free_port("192.0.2.1", 8000)


def test_a_range_without_a_free_port_is_refused(taken_port: int) -> None:
    with pytest.raises(CommandError, match="no port from"):
        find_free_port("127.0.0.1", taken_port, taken=range(65_536))


@pytest.mark.parametrize(
    ("url", "port", "address"),
    [
        ("http://127.0.0.1:8000", None, ("127.0.0.1", 8000)),
        ("http://127.0.0.1:8000/", 9000, ("127.0.0.1", 9000)),
        ("http://localhost", None, ("localhost", 80)),
        ("http://[::1]:8000", 0, ("::1", 0)),
    ],
)
def test_the_api_listens_where_its_url_says(url: str, port: int | None, address: tuple[str, int]) -> None:
    assert read_listen_address(url, port=port) == address


@pytest.mark.parametrize("url", ["https://rushes.example.com", "http://127.0.0.1:8000/behind/a/path"])
def test_a_url_that_one_cannot_listen_at_is_refused_by_name(url: str) -> None:
    with pytest.raises(CommandError, match="RUSHES_URL") as caught:
        read_listen_address(url)
    assert caught.value.exit_code == 2


def test_an_ipv6_url_has_brackets() -> None:
    assert web_url("::1", 8000) == "http://[::1]:8000"


def test_a_folder_is_held_by_one_process_alone(tmp_path: Path) -> None:
    hold = (
        "import pathlib, sys; from stack.data_folder import hold_folder\n"
        "with hold_folder(pathlib.Path(sys.argv[1])): pass"
    )
    with hold_folder(tmp_path / "data"):
        other = subprocess.run(
            [sys.executable, "-c", hold, str(tmp_path / "data")], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert other.returncode != 0
    assert f"a stack runs in {tmp_path / 'data'} already (process {os.getpid()})" in other.stderr
    with hold_folder(tmp_path / "data"):
        pass


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be used: not a directory"), hold_folder(tmp_path / "file" / "data"):
        pass


def test_other_commands_find_the_services_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = "postgresql://user:p'a$s@127.0.0.1/rushes?options=-c%20x"
    monkeypatch.setenv("RUSHES_DATA_DIR", str(tmp_path))
    for name in ("RUSHES_DATABASE_URL", "RUSHES_URL", "WAVESPEED_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    write_services(
        tmp_path, {"RUSHES_DATABASE_URL": strange, "RUSHES_URL": "http://127.0.0.1:9", "WAVESPEED_API_KEY": "k"}
    )
    found = load_settings()
    assert found.get_database_url() == strange
    assert found.url == "http://127.0.0.1:9"
    assert found.wavespeed_api_key is not None
    assert stat.S_IMODE((tmp_path / SERVICES_FILE).stat().st_mode) == 0o600
    remove_services(tmp_path)
    remove_services(tmp_path)
    assert load_settings().url == "http://127.0.0.1:8000"


def test_flower_s_password_is_made_once_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    password, path = get_flower_password(tmp_path)
    assert len(password) >= 20
    assert get_flower_password(tmp_path) == (password, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("")
    assert get_flower_password(tmp_path)[0] not in ("", password)


def test_a_process_gets_every_setting_and_nothing_that_contradicts_it() -> None:
    settings = default_settings(slots=7, database_url="postgresql://x@h/d")
    base = {
        "PATH": "/bin",
        "RUSHES_SLOTS": "2",
        "CELERY_BROKER_URL": "redis://else",
        "FLOWER_PORT": "1",
        "HTTPS_PROXY": "p",
    }
    environment = process_environment(settings, base)
    assert environment["RUSHES_SLOTS"] == "7"
    assert environment["RUSHES_DATABASE_URL"] == "postgresql://x@h/d"
    assert environment["RUSHES_LOG_JSON"] == "false"
    assert environment["PATH"] == "/bin"
    assert {"CELERY_BROKER_URL", "FLOWER_PORT"}.isdisjoint(environment)


def test_a_process_gets_no_secret_that_it_does_not_need() -> None:
    secrets = {"flower_password": "SECRET", "api_key": "SECRET", "api_headers": "X-Login: SECRET"}
    settings = default_settings(wavespeed_api_key="k", **secrets)
    base = {"RUSHES_API_KEY": "SECRET", "RUSHES_API_HEADERS": "X-Login: SECRET"}
    assert process_environment(settings, base, with_key=True)["WAVESPEED_API_KEY"] == "k"
    for with_key in (False, True):
        assert "SECRET" not in str(process_environment(settings, base, with_key=with_key))
    assert "WAVESPEED_API_KEY" not in process_environment(settings, base)


def test_settings_read_back_from_their_variables_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = default_settings(
        data_dir=tmp_path, slots=9, render_median_seconds=0.25, log_json=True, redis_url="redis://h/0", flower_user="me"
    )
    for name in list(os.environ):
        if name.startswith(("RUSHES_", "WAVESPEED_")):
            monkeypatch.delenv(name)
    for name, value in spell_settings(settings).items():
        monkeypatch.setenv(name, value)
    assert load_settings(running_stack=False) == settings


def test_defaults_ignore_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", "real")
    monkeypatch.setenv("RUSHES_SLOTS", "nonsense")
    settings = default_settings(slots=12)
    assert (settings.wavespeed_api_key, settings.slots) == (None, 12)


def test_secrets_are_no_part_of_any_command_line() -> None:
    settings = default_settings(
        database_url="postgresql://u:SECRET@h/d", redis_url="redis://:SECRET@h/0", wavespeed_api_key="SECRET"
    )
    commands = [
        api_command(host="127.0.0.1", port=1),
        step_worker_command(settings, number=2),
        store_worker_command(settings),
        flower_command(port=2),
        simulator_command(settings, port=3, api_key="simulator", journal=Path("j")),
    ]
    assert "SECRET" not in str(commands)
    assert run_as_module(commands[0])[:3] == [sys.executable, "-m", "uvicorn"]


def test_workers_have_a_queue_each_step_and_threads_by_the_settings() -> None:
    settings = default_settings(submits_per_minute=600, watch_threads=8, store_threads=3)
    step, store = step_worker_command(settings, number=2), store_worker_command(settings)
    assert step[step.index("-Q") + 1] == "submit,reconcile,watch,resume,report"
    assert step[step.index("-c") + 1] == "18"
    assert step[step.index("-n") + 1] == "main2@%h"
    assert store[store.index("-Q") + 1] == "store"
    assert store[store.index("-c") + 1] == "3"
    automatic = store_worker_command(default_settings())
    assert automatic[automatic.index("-c") + 1] == "64"


def test_a_follower_shows_whole_lines_with_the_name_of_their_process(tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("before\n")
    said: list[str] = []
    follower = LogFollower(tmp_path, said.append)
    follower.start()
    with (tmp_path / "old.log").open("a") as old, (tmp_path / "api.log").open("wb") as new:
        old.write("after\nnot who")
        new.write(b"caf\xe9\n")
    follower.stop()
    assert sorted(said) == ["api           | caf\ufffd", "old           | after"]
