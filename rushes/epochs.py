"""The epoch outside the database: what tells that the database has been restored to an earlier state.

Every claim of submissions advances the epoch in the account's row; once that is committed, and before a message is
published, a small file in the data folder learns it. So a database that is behind the file has forgotten submissions.
Many machines have many folders: there a person raises RUSHES_RESTORE_EPOCH after a restore.
"""

import contextlib
import os
from pathlib import Path
from uuid import UUID

import structlog

from models import transitions
from models.queries import DispatchAccount
from models.session import transaction
from rushes.runtime import Runtime

FOLDER = "epochs"

log = structlog.get_logger(__name__)


def read_epoch(folder: Path, account_id: UUID) -> int:
    """The highest epoch that this folder has seen of this account; 0 where it has seen none."""
    try:
        return int((folder / FOLDER / str(account_id)).read_text("ascii"))
    except (OSError, ValueError):
        return 0


def keep_epoch(folder: Path, account_id: UUID, epoch: int) -> None:
    """Remember an epoch that is committed, unless a higher one is known; the file is never seen half written.

    A folder that cannot be written is told and forgiven: it protects from a restore that has not happened.
    """
    if epoch <= read_epoch(folder, account_id):
        return
    target = folder / FOLDER / str(account_id)
    draft = target.with_name(f".{account_id}-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(str(epoch), "ascii")
        draft.replace(target)
    except OSError as error:
        log.warning("epoch.not_kept", folder=str(target.parent), error=str(error))
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def hold_after_restore(runtime: Runtime, account: DispatchAccount) -> bool:
    """Pause the account where its row is behind what is kept outside; whether it was paused now."""
    kept, asked = read_epoch(runtime.settings.data_dir, account.id), runtime.settings.restore_epoch
    if account.epoch >= kept and account.restore_epoch >= asked:
        return False
    behind = f"its epoch is {account.epoch}, the data folder has seen {kept}"
    detail = behind if account.epoch < kept else f"RUSHES_RESTORE_EPOCH was raised to {asked}"
    with transaction(runtime.sessions) as session:
        held = transitions.hold_restored(session, account.id, epoch=kept, restore_epoch=asked, detail=detail)
    if held:
        log.error("account.restored", detail=detail)
    return held
