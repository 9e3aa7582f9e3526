"""A read that many callers share: one thread, a limit for each caller, and a result that is kept for a while."""

import asyncio
import threading
import time

import pytest

from models.db.shared_reads import SharedRead


class Source:
    """Counts how often it is read. While `open` is not set, a read waits."""

    def __init__(self) -> None:
        self.reads = 0
        self.open = threading.Event()
        self.error: Exception | None = None

    def read(self) -> int:
        self.reads += 1
        assert self.open.wait(60)
        if self.error:
            raise self.error
        return self.reads


@pytest.fixture
def source() -> Source:
    return Source()


def test_callers_share_a_running_read_and_give_up_on_their_own(source: Source) -> None:
    shared = SharedRead(source.read, name="test", keep_seconds=1000)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            shared.wait(seconds=0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(shared.ask(seconds=0.01))
    source.open.set()
    assert asyncio.run(shared.ask(seconds=60)) == source.reads == 1


def test_a_result_is_read_again_once_it_is_too_old(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.open.set()
    shared = SharedRead(source.read, name="test", keep_seconds=1000)
    assert [shared.wait(seconds=60) for _ in range(3)] == [1, 1, 1]
    later = time.monotonic() + 1001
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert shared.wait(seconds=60) == 2


def test_a_failure_reaches_the_caller_and_is_not_kept(source: Source) -> None:
    source.open.set()
    shared = SharedRead(source.read, name="test", keep_seconds=1000)
    source.error = ValueError("away")
    for _ in range(2):
        with pytest.raises(ValueError, match="away"):
            shared.wait(seconds=60)
    source.error = None
    assert shared.wait(seconds=60) == 3
