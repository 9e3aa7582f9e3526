"""A program that follows the event feed through all faults, and what it has missed in the end."""

import threading
import time
from itertools import pairwise

from chaos.farm import Farm
from chaos.queries import list_job_events
from cli.api import open_api
from models.db.session import transaction
from rushes.monitoring.audit import Finding
from rushes.settings import Settings

PATIENCE_SECONDS = 60.0
EXAMPLES = 5


class FeedReader:
    """Reads every event of jobs in a thread, and continues from the last one after each break."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ids: list[int] = []
        self._error = ""
        threading.Thread(target=self._read, name="rushes-feed-reader", daemon=True).start()

    def list_findings(self, farm: Farm) -> list[Finding]:
        """Wait until every event has come, or for `PATIENCE_SECONDS`, and describe what is missing or came again."""
        with transaction(farm.sessions) as session:
            wanted = list_job_events(session)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not wanted <= set(self._ids) and time.monotonic() < deadline and not self._error:
            farm.tend()
            time.sleep(0.1)
        ids = list(self._ids)
        missing = [f"event {each}" for each in sorted(wanted - set(ids))] + ([self._error] if self._error else [])
        again = [f"event {later}" for earlier, later in pairwise(ids) if later <= earlier]
        return [
            Finding("feed_complete", "the event feed lacks an event", len(missing), (*missing[:EXAMPLES],)),
            Finding("feed_in_order", "the event feed repeats an event", len(again), (*again[:EXAMPLES],)),
        ]

    def _read(self) -> None:
        try:
            with open_api(self._settings) as client:
                for event in client.events(kinds=["job.*"]):
                    self._ids.append(event.id)
        except Exception as error:  # noqa: BLE001 - whatever ends it is a finding
            self._error = f"the reader ended: {type(error).__name__}: {error}"
