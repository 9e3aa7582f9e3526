"""The epoch outside the database: it shows that the database has been restored to an earlier state.

Every claim of submissions advances the epoch in the account's row. After that commit, and before a message is
published, an empty file in the data folder records it by its name. So a database that is behind the file lacks
submissions. If several machines use the database, each has its own folder: after a restore, a person raises
RUSHES_RESTORE_EPOCH. A process that creates a file removes only those with lower numbers, so the highest number stays,
in whatever order two leaders write.
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
    numbers = [each.suffix.removeprefix(".") for each in (folder / FOLDER).glob(f"{account_id}.*")]
    return [int(each) for each in numbers if each.isdecimal()]


def hold_after_restore(runtime: Runtime, account: DispatchAccount) -> bool:
    """Pause the account if its row is behind the epochs kept outside; return whether this call paused it."""
    kept, asked = read_epoch(runtime.settings.data_dir, account.id), runtime.settings.restore_epoch
    if account.epoch >= kept and account.restore_epoch >= asked:
        return False
    behind = f"its epoch is {account.epoch}, the data folder has seen {kept}"
    detail = behind if account.epoch < kept else f"RUSHES_RESTORE_EPOCH was raised to {asked}"
    with transaction(runtime.sessions) as session:
        held = transitions.pauses.hold_restored(session, account.id, epoch=kept, restore_epoch=asked, detail=detail)
    if held:
        log.error("account.restored", detail=detail)
    return held
