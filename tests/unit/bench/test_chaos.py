"""How the plain Celery task is judged: by its files and by what it gave up."""

from pathlib import Path

import pytest

from bench.chaos import PlainPeer, is_video
from bench.peers.celery_with_failures import GAVE_UP
from bench.peers.plain_celery import Options
from bench.peers.sightings import note_sighting
from chaos.plan import Push
from sandbox.wavespeed.state.faults import CONTAINERS
from sandbox.wavespeed.videos import Clip, remux, render

VIDEO = b"\x00\x00\x00\x20ftypisom" + bytes(20)


def open_peer(folder: Path) -> PlainPeer:
    """A peer whose workers were never started and whose broker is nowhere."""
    peer = PlainPeer(Options(folder=str(folder), broker="redis://127.0.0.1:1/0"), logs=folder)
    peer.push(Push(0.0, 3, ("a", "b", "c", "d")))
    return peer


def test_a_web_page_in_the_place_of_a_video_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(VIDEO)
    (tmp_path / "page.mp4").write_bytes(b"<html>too many requests</html>")
    (tmp_path / "empty.mp4").touch()
    assert [is_video(tmp_path / f"{name}.mp4") for name in ("video", "page", "empty")] == [True, False, False]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_video_in_another_container_is_a_video(tmp_path: Path, container: str) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(remux(render(Clip("a cat", 1.0, True, 64, 64)), container))
    assert is_video(path)


def test_a_job_has_ended_by_a_file_a_bad_outcome_or_a_task_that_gave_up(tmp_path: Path) -> None:
    peer = open_peer(tmp_path)
    (tmp_path / "3-0.mp4").write_bytes(VIDEO)
    note_sighting(tmp_path, job="3-1", prediction="p", status="failed")
    note_sighting(tmp_path, job="3-2", prediction="", status=GAVE_UP)
    note_sighting(tmp_path, job="3-3", prediction="q", status="completed")  # and no file yet
    assert peer.count_ended() == 3
    assert peer.count_videos() == {"a": 1}


def test_the_plain_celery_peer_has_two_workers_and_nothing_else_to_strike(tmp_path: Path) -> None:
    peer = open_peer(tmp_path)
    assert peer.find("main") is not peer.find("leader")
    assert (peer.find("api"), peer.find("store")) == (None, None)
    assert peer.is_pushing  # the broker is away, and it goes on trying
