"""Check whether this worker can store videos: its folder has the marker, can be written, and has free space."""

import threading
import time
import uuid
from datetime import timedelta

import structlog
from pydantic import ByteSize
from sqlalchemy.exc import SQLAlchemyError

from models import queries, transitions
from models.db.errors import DatabaseAway
from models.db.session import one_statement
from models.tables.worker import NO_STORE, StoreState
from rushes.artifacts.errors import StorageFull
from rushes.artifacts.store import ArtifactStore
from rushes.errors import Unavailable
from rushes.runtime import Runtime
from rushes.timing import Every

CHECK_SECONDS = 3.0
FIRST_SECONDS = 2.0
"""How long a starting worker waits for the first check."""
HUNG_SECONDS = 15.0
"""A volume that does not answer for this long cannot be used."""
TIDY_SECONDS = 3600.0
ABANDONED_AFTER = timedelta(days=1)

log = structlog.get_logger(__name__)


class StoreCheck:
    """Checks the store in a separate thread, because a volume that hangs must not stop the dispatcher.

    `stores` says whether the process stores videos; if not, there is nothing to check.
    """

    def __init__(self, runtime: Runtime, *, stores: bool) -> None:
        self._runtime = runtime
        self._stores = stores
        self._state: StoreState | None = None
        self._checked_at = time.monotonic()
        self._first = threading.Event()
        self._stopping = threading.Event()
        self._tidying = Every(TIDY_SECONDS)

    def start(self) -> None:
        """Start the thread and return at once."""
        if self._stores:
            threading.Thread(target=self._run, name="rushes-store-check", daemon=True).start()

    def stop(self) -> None:
        """Check no more."""
        self._stopping.set()

    def get_state(self) -> StoreState:
        """Return the result of the last check. A check that hangs is a problem too."""
        if not self._stores:
            return NO_STORE
        self._first.wait(FIRST_SECONDS)  # only a start waits
        age = time.monotonic() - self._checked_at
        if self._state is not None and age < HUNG_SECONDS:
            return self._state
        folder = self._runtime.settings.get_artifacts_folder()
        return StoreState(f"{folder} has not answered for {age:,.0f} s: check its volume, and the network", None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._note(check_store(self._runtime))
                self._tidy()
            except (DatabaseAway, SQLAlchemyError):
                self._checked_at = time.monotonic()  # the folder is not at fault
            self._first.set()
            self._stopping.wait(CHECK_SECONDS)

    def _note(self, state: StoreState) -> None:
        before = self._state.problem if self._state else None
        if state.problem and not before:
            log.error("store.unusable", problem=state.problem)
        elif before and not state.problem:
            log.info("store.usable", free_bytes=state.free_bytes)
            self._runtime.waker.wake()
        self._state, self._checked_at = state, time.monotonic()

    def _tidy(self) -> None:
        if self.get_state().problem is None and self._tidying.begin_if_due(time.monotonic()):
            log.info("store.tidied", removed=self._runtime.store.remove_abandoned(older_than=ABANDONED_AFTER))


def check_store(runtime: Runtime) -> StoreState:
    """Check the folder's marker, write to the folder, and measure its free space. The first check marks the folder."""
    store, reserve = runtime.store, runtime.settings.disk_reserve
    with one_statement(runtime.sessions) as session:
        marker = queries.storing.find_store_marker(session)
    try:
        if marker is None:
            _mark(runtime, store)
        else:
            store.require_marker(marker)
        free = store.measure_room()
    except (Unavailable, StorageFull) as error:
        return StoreState(str(error), None)
    if free >= reserve:
        return StoreState(None, free)
    room = f"{_spell(free)} free, less than the reserve of {_spell(reserve)} (RUSHES_DISK_RESERVE)"
    advice = "free some space, or move the videos to a larger volume and set RUSHES_ARTIFACTS_URL"
    return StoreState(f"{store.root} has {room}: {advice}", free)


def _mark(runtime: Runtime, store: ArtifactStore) -> None:
    """Mark the folder and record its marker. A marker from an earlier use stays."""
    marker = store.write_marker(str(uuid.uuid4()))
    with one_statement(runtime.sessions) as session:
        recorded = transitions.accounts.record_store_marker(session, marker)
    if recorded:
        log.info("store.marked", folder=str(store.root))


def _spell(size: int) -> str:
    return ByteSize(size).human_readable(decimal=True)
