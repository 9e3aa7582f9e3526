"""The epoch outside the database: it shows that the database has been restored to an earlier state.

Every claim of submissions advances the epoch in the account's row. After that commit, and before a message is
published, a small file in the data folder records the epoch. So a database that is behind the file lacks
submissions. If several machines use the database, each has its own folder, so a person raises RUSHES_RESTORE_EPOCH
after a restore.

The leader reads the epoch once a turn. A single leader only saves work: nothing here relies on there being only one.
The number is part of the file name, so each number has its own file. A process that creates a file removes only files
with lower numbers. So the highest number stays, in whatever order two leaders write.
"""

from pathlib import Path
from uuid import UUID

import structlog

from models import transitions
from models.db.session import transaction
from models.queries.dispatching import DispatchAccount
from rushes.runtime import Runtime

FOLDER = "epochs"

log = structlog.get_logger(__name__)


def read_epoch(folder: Path, account_id: UUID) -> int:
    """Return the highest epoch of this account that the folder holds; 0 if it holds none."""
    return max(_list_epochs(folder, account_id), default=0)


def keep_epoch(folder: Path, account_id: UUID, epoch: int) -> None:
    """Record a committed epoch. Later reads never return less, even if other processes record one meanwhile.

    If the folder cannot be written, log a warning and continue: the file is needed only after a restore.
    """
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        _place(folder, account_id, epoch).touch()
        for older in _list_epochs(folder, account_id):
            if older < epoch:
                _place(folder, account_id, older).unlink(missing_ok=True)
    except OSError as error:
        log.warning("epoch.not_kept", folder=str(folder / FOLDER), error=str(error))


def _place(folder: Path, account_id: UUID, epoch: int) -> Path:
    return folder / FOLDER / f"{account_id}.{epoch}"


def _list_epochs(folder: Path, account_id: UUID) -> list[int]:
    named = f"{account_id}."
    try:
        names = [each.name for each in (folder / FOLDER).iterdir()]
    except OSError:
        return []
    numbers = [name.removeprefix(named) for name in names if name.startswith(named)]
    return [int(each) for each in numbers if each.isdecimal()]


def hold_after_restore(runtime: Runtime, account: DispatchAccount) -> bool:
    """Pause the account if its row is behind the epochs kept outside; return whether this call paused it."""
    kept, asked = read_epoch(runtime.settings.data_dir, account.id), runtime.settings.restore_epoch
    if account.epoch >= kept and account.restore_epoch >= asked:
        return False
    behind = f"its epoch is {account.epoch}, the data folder has seen {kept}"
    detail = behind if account.epoch < kept else f"RUSHES_RESTORE_EPOCH was raised to {asked}"
    with transaction(runtime.sessions) as session:
        held = transitions.restore.hold_restored(session, account.id, epoch=kept, restore_epoch=asked, detail=detail)
    if held:
        log.error("account.restored", detail=detail)
    return held
