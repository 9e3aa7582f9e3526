"""The data folder of one machine's stack: its lock, its secrets, and the file with the addresses of its servers."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from models.db.session import open_engine, open_sessions
from rushes.access.keys import make_key
from rushes.access.tenants import ensure_key
from rushes.settings import API_KEY_FILE, SERVICES_FILE, Settings
from sandbox.servers.folder import Lock, write_private
from stack.errors import CommandError

LOCK_FILE = "up.lock"
PASSWORD_FILE = "flower.password"  # noqa: S105 - a file's name
_QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'"})


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Lock the folder for this process until the block ends. Raises `CommandError` if another process holds it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(folder / LOCK_FILE)
        is_ours = lock.acquire()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandError(f"{folder} cannot be used: {reason}", hint="RUSHES_DATA_DIR names another folder") from error
    if not is_ours:
        raise CommandError(
            f"a stack runs in {folder} already (process {lock.find_holder()})",
            hint="stop that one first, or set RUSHES_DATA_DIR to another folder",
        )
    lock.note(os.getpid())
    try:
        yield
    finally:
        lock.release()


def write_services(folder: Path, values: Mapping[str, str]) -> None:
    """Record the servers' addresses for other commands that use this folder; only the owner can read the file."""
    lines = [f"{name}='{value.translate(_QUOTED)}'" for name, value in values.items()]
    write_private(folder / SERVICES_FILE, "\n".join(lines) + "\n")


def remove_services(folder: Path) -> None:
    """Remove the file when the stack has stopped."""
    (folder / SERVICES_FILE).unlink(missing_ok=True)


def get_flower_password(folder: Path) -> tuple[str, Path]:
    """The password generated for this folder, and the file that holds it; only the owner can read the file."""
    path = folder / PASSWORD_FILE
    return _keep_secret(path, lambda: secrets.token_urlsafe(18)), path


def ensure_api_key(settings: Settings) -> str:
    """Return the API key of this data folder, and store it in the database; only the owner can read its file.

    A new key replaces one that was revoked or has expired. Raises `Conflict` if the tenant `default` is disabled.
    """
    path = settings.data_dir / API_KEY_FILE
    key = _keep_secret(path, make_key)
    engine = open_engine(settings.get_listen_url(), pool_size=1)
    sessions = open_sessions(engine)
    try:
        while not ensure_key(sessions, key, name="rushes up"):
            key = make_key()
            write_private(path, key + "\n")
    finally:
        engine.dispose()
    return key


def _keep_secret(path: Path, make: Callable[[], str]) -> str:
    with contextlib.suppress(FileNotFoundError):
        if secret := path.read_text().strip():
            return secret
    secret = make()
    write_private(path, secret + "\n")
    return secret
