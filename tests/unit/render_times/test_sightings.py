"""What polls saw running: the latest of each, forgotten at its end and before memory runs out."""

import time
from datetime import timedelta
from uuid import uuid4

from rushes.render_times.learned import Sightings


def test_the_latest_poll_counts_and_is_forgotten_with_the_end() -> None:
    sightings, render, now = Sightings(), uuid4(), time.monotonic()
    sightings.note_running(render, asked_at=now - 60)
    sightings.note_running(render, asked_at=now - 5)
    unseen = sightings.end(render)
    assert unseen is not None
    assert timedelta(seconds=5) <= unseen < timedelta(seconds=55)
    assert sightings.end(render) is None


def test_a_render_that_was_never_polled_is_unknown() -> None:
    assert Sightings().end(uuid4()) is None


def test_the_one_noted_longest_ago_is_forgotten_first() -> None:
    sightings, renders = Sightings(most=2), [uuid4() for _ in range(3)]
    for render in (renders[0], renders[1], renders[0], renders[2]):
        sightings.note_running(render, asked_at=0.0)
    assert [sightings.end(each) is not None for each in renders] == [True, False, True]
