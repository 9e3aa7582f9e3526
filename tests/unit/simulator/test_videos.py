"""The simulated videos: real files of the right length, whatever the prompt."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rushes.catalog import get_video_model
from sandbox.wavespeed.handlers.schemas import with_defaults
from sandbox.wavespeed.media.containers import MEDIA_TYPES, remux
from sandbox.wavespeed.media.folders import BoundedFolder
from sandbox.wavespeed.media.stills import draw_still
from sandbox.wavespeed.media.videos import Clip, VideoShelf, render, render_plain
from sandbox.wavespeed.state.faults import CONTAINERS
from sandbox.wavespeed.state.tasks import Task, TaskRequest


def make_clip(text: str = "a cat", seconds: float = 6, has_sound: bool = True) -> Clip:
    return Clip(text, "0123 a caption", seconds, has_sound, 1920, 1080)


def make_task(number: int, **inputs: Any) -> Task:
    model = get_video_model("ltx-2-pro")
    sent = {"prompt": f"cat {number}", **inputs}
    asked = TaskRequest(model=model, given=sent, values=with_defaults(model, sent), base="http://provider")
    return Task(id=f"{number:032x}", asked=asked, accepted=0.0, duration=1.0)


@pytest.mark.parametrize("seconds", [2.0, 2.5, 6.0, 7.3, 10.0, 16.0, 20.0])
def test_a_video_is_an_mp4_of_the_length_asked_for(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "video.mp4"
    render(make_clip(seconds=seconds), path)
    with av.open(path) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert "mp4" in file.format.name
        assert (video.codec_context.name, video.width, video.height) == ("h264", 1920, 1080)
        assert audio.codec_context.name == "aac"
        assert abs(file.duration / av.time_base - seconds) < 0.1
        assert abs(float(video.duration * video.time_base) - seconds) < 0.01
        assert abs(float(audio.duration * audio.time_base) - seconds) < 0.1


def test_every_frame_shows_the_same_picture_and_it_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    render(make_clip(seconds=8), path)
    with av.open(path) as file:
        frames = [bytes(frame.planes[0]) for frame in file.decode(video=0)]
    assert len(frames) == 8
    assert len(set(frames)) == 1
    assert (min(frames[0]) < 100, max(frames[0]) > 200) == (True, True)


def test_a_plain_video_is_as_whole_as_another_and_no_two_are_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp4", tmp_path / "second.mp4"
    render_plain(make_clip("a cat", seconds=7.3), first)
    render_plain(make_clip("a dog", seconds=7.3), second)
    assert first.read_bytes() != second.read_bytes()
    with av.open(second) as file:
        assert abs(file.duration / av.time_base - 7.3) < 0.1
        frames = [(frame.width, frame.height) for frame in file.decode(video=0)]
        assert frames == [(1920, 1080)] * 8
        assert file.streams.audio


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_video_fits_into_other_containers(tmp_path: Path, container: str) -> None:
    paths = tmp_path / "first", tmp_path / "second"
    for path in paths:
        render_plain(make_clip(), path)
        remux(path, container)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert sorted(tmp_path.iterdir()) == [*paths]
    with av.open(paths[0]) as file:
        assert container in file.format.name
        assert [frame.width for frame in file.decode(video=0)] == [1920] * 6
        assert bool(file.streams.audio) is (container != "mpeg")


def test_every_container_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == {"mp4", *CONTAINERS}


def test_the_sound_decodes(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    render(make_clip(), path)
    with av.open(path) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
    assert abs(samples / 48_000 - 6) < 0.1


def test_without_sound_there_is_no_audio_track(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    render(make_clip(has_sound=False), path)
    with av.open(path) as file:
        assert [stream.type for stream in file.streams] == ["video"]


def test_the_same_clip_gives_the_same_bytes_and_another_prompt_others(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, text in zip(paths, ("one", "one", "two"), strict=True):
        render(make_clip(text), path)
    first, second, third = (path.read_bytes() for path in paths)
    assert first == second != third


def test_files_are_small(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    render(make_clip("A lighthouse keeper climbs the spiral stairs at dusk while waves crash outside."), path)
    assert path.stat().st_size < 100_000


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(max_size=200), st.text(min_size=1, max_size=20).map(lambda text: (text * 5_000)[:5_000])))
def test_any_prompt_can_be_drawn(text: str) -> None:
    still = draw_still(text, "caption", width=640, height=480)
    assert len(still.luma) == 640 * 480


@pytest.mark.parametrize(
    "text", ["x" * 5_000, "漢" * 5_000, "word " * 1_000, "\u202e\u0000\n\t" * 1_000, "🎉" * 5_000, ""]
)
def test_long_and_strange_prompts_can_be_drawn_in_full_size(text: str) -> None:
    assert len(draw_still(text, "caption", width=1920, height=1080).luma) == 1920 * 1080


def test_a_long_prompt_is_drawn_smaller_instead_of_running_out_of_the_picture() -> None:
    short = draw_still("word " * 20, "caption", width=1920, height=1080)
    long = draw_still("word " * 990, "caption", width=1920, height=1080)
    bottom = 1920 * 900
    assert max(long.luma[:bottom]) > 200
    assert max(long.luma[-1920 * 20 :]) < 60
    assert short.luma != long.luma


# the shelf


async def _fetch(shelf: VideoShelf, tasks: list[Task]) -> list[str]:
    return list(await asyncio.gather(*(shelf.fetch(task) for task in tasks)))


def test_one_video_is_rendered_once_for_many_downloads(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as executor:
        shelf = VideoShelf(BoundedFolder(tmp_path, 10**9), executor)
        names = asyncio.run(_fetch(shelf, [make_task(1)] * 5 + [make_task(2)] * 3))
    assert len(set(names)) == shelf.rendered == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(names))


def test_the_shelf_keeps_a_video_once_for_each_container(tmp_path: Path) -> None:
    async def fetch_both() -> list[str]:
        return [await shelf.fetch(make_task(1), container=each) for each in ("mp4", "flv", "mp4", "flv")]

    with ThreadPoolExecutor(1) as executor:
        shelf = VideoShelf(BoundedFolder(tmp_path, 10**9), executor, draw=render_plain)
        names = asyncio.run(fetch_both())
    assert shelf.rendered == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(names))


def test_the_cache_stays_below_its_size_and_brings_back_the_same_bytes(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        shelf = VideoShelf(BoundedFolder(tmp_path, 120_000), executor)
        [name] = asyncio.run(_fetch(shelf, [make_task(1)]))
        before = (tmp_path / name).read_bytes()
        for number in range(2, 8):
            asyncio.run(_fetch(shelf, [make_task(number)]))
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) == shelf.folder.total_bytes <= 120_000
        assert not (tmp_path / name).exists()
        asyncio.run(_fetch(shelf, [make_task(1)]))
        assert (tmp_path / name).read_bytes() == before


def test_a_file_that_is_being_read_is_not_removed(tmp_path: Path) -> None:
    folder = BoundedFolder(tmp_path, 10)
    for name in ("one", "two", "three"):
        folder.place(name).write_bytes(b"12345678")
    folder.add("one")
    with folder.hold("one") as path:
        folder.add("two")
        folder.add("three")
        assert path.read_bytes() == b"12345678"
        assert "two" not in folder
    folder.place("four").write_bytes(b"12345678")
    folder.add("four")
    assert [path.name for path in tmp_path.iterdir()] == ["four"]


def test_the_length_of_a_clip_is_the_one_that_was_billed() -> None:
    task = make_task(1, duration=10, generate_audio=False)
    clip = Clip.of(task)
    assert (clip.seconds, clip.has_sound, task.price) == (10.0, False, Decimal("0.60"))
    assert task.id in clip.caption
