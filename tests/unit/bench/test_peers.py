"""The plain Celery contestant: its options survive the way through the environment, and what it saw is read again."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.peers.plain_celery import Options, read_options
from bench.peers.sightings import note_sighting, read_sightings


def test_options_survive_the_way_through_the_environment() -> None:
    options = Options(url="http://127.0.0.1:1", key="k", concurrency=3, poll_seconds=0.25, visibility_seconds=20)
    assert Options.from_environment(options.to_environment()) == options


def test_the_command_line_names_every_option() -> None:
    assert read_options(["--concurrency", "7", "--poll-seconds", "2"]) == Options(concurrency=7, poll_seconds=2)


def test_sightings_of_many_threads_are_whole_lines(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: note_sighting(tmp_path, job=f"{number}", prediction="p" * 32, status="completed"),
                range(200),
            )
        )
    assert sorted(int(each.job) for each in read_sightings(tmp_path)) == list(range(200))
    assert read_sightings(tmp_path / "nobody") == []
