"""The rate limit at which a download reports."""

from datetime import timedelta

from rushes.artifacts.download import DownloadLimits, Heartbeat


def test_a_caller_is_asked_once_per_interval_however_many_chunks_come() -> None:
    now = 100.0
    asked: list[float] = []
    heartbeat = Heartbeat(lambda: asked.append(now), interval=timedelta(seconds=1), clock=lambda: now)

    for tenths in range(1, 51):
        now = 100 + tenths / 10
        heartbeat.beat()

    assert asked == [101, 102, 103, 104, 105]


def test_after_a_gap_the_next_beat_asks_at_once() -> None:
    now = 0.0
    asked: list[float] = []
    heartbeat = Heartbeat(lambda: asked.append(now), interval=timedelta(seconds=1), clock=lambda: now)

    now = 15.0
    heartbeat.beat()
    heartbeat.beat()

    assert asked == [15]


def test_progress_is_reported_at_least_every_two_seconds() -> None:
    assert DownloadLimits().heartbeat <= timedelta(seconds=2)
