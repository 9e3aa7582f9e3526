"""The simulated videos: real files of the right length, whatever the prompt."""

import io
from dataclasses import replace
from decimal import Decimal
from typing import Any

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rushes.catalog import get_video_model
from sandbox.wavespeed.state.faults import CONTAINERS
from sandbox.wavespeed.state.tasks import Task, TaskRequest
from sandbox.wavespeed.videos import MEDIA_TYPES, Clip, draw_words, remux, render, render_large

CLIP = Clip("a cat", 6.0, True, 1920, 1080)
PROMPT = "A lighthouse keeper climbs the spiral stairs at dusk while waves crash outside."


def make_task(number: int, **inputs: Any) -> Task:
    model = get_video_model("ltx-2-pro")
    sent = {"prompt": f"cat {number}", **inputs}
    asked = TaskRequest(model=model, given=sent, base="http://provider")
    return Task(id=f"{number:032x}", asked=asked, accepted=0.0, duration=1.0)


def decode_brightness(video: bytes) -> list[bytes]:
    with av.open(io.BytesIO(video)) as file:
        return [bytes(frame.planes[0]) for frame in file.decode(video=0)]


@pytest.mark.parametrize("seconds", [2.0, 2.5, 6.0, 7.3, 10.0, 16.0, 20.0])
def test_a_video_is_an_mp4_of_the_length_asked_for(seconds: float) -> None:
    with av.open(io.BytesIO(render(replace(CLIP, seconds=seconds)))) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert "mp4" in file.format.name
        assert (video.codec_context.name, video.width, video.height) == ("h264", 1920, 1080)
        assert audio.codec_context.name == "aac"
        assert abs(file.duration / av.time_base - seconds) < 0.1
        assert abs(float(video.duration * video.time_base) - seconds) < 0.01
        assert abs(float(audio.duration * audio.time_base) - seconds) < 0.1


def test_every_frame_of_a_plain_video_is_the_same() -> None:
    frames = decode_brightness(render(replace(CLIP, seconds=7.3)))
    assert len(frames) == 8
    assert len(set(frames)) == 1


def test_a_large_video_has_its_size_and_a_detailed_picture() -> None:
    (body, tail), (other_body, other_tail) = (render_large(replace(CLIP, words=word), size=500_000) for word in "ab")
    assert body is other_body
    assert tail != other_tail
    assert len(body) + len(tail) == 500_000
    with av.open(io.BytesIO(body + tail)) as file:
        key_frame = next(packet.size for packet in file.demux(video=0))
    assert 40_000 < key_frame < 100_000  # as in a film of this size
    assert len(set(decode_brightness(body + tail)[0])) > 100


def test_a_video_can_show_its_words() -> None:
    first, *_, last = decode_brightness(render(replace(CLIP, words=PROMPT), shows_words=True))
    assert all((min(frame) < 100, max(frame) > 200) == (True, True) for frame in (first, last))


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_video_fits_into_other_containers(container: str) -> None:
    first, second = (remux(render(CLIP), container) for _ in range(2))
    assert first == second
    with av.open(io.BytesIO(first)) as file:
        assert container in file.format.name
        assert [frame.width for frame in file.decode(video=0)] == [1920] * 6
        assert bool(file.streams.audio) is (container != "mpeg")


def test_every_container_has_a_media_type() -> None:
    assert set(MEDIA_TYPES) == {"mp4", *CONTAINERS}


def test_the_sound_decodes() -> None:
    with av.open(io.BytesIO(render(CLIP))) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
    assert abs(samples / 48_000 - 6) < 0.1


def test_without_sound_there_is_no_audio_track() -> None:
    with av.open(io.BytesIO(render(replace(CLIP, has_sound=False)))) as file:
        assert [stream.type for stream in file.streams] == ["video"]


@pytest.mark.parametrize("shows_words", [False, True])
def test_the_same_clip_gives_the_same_bytes_and_another_prompt_others(shows_words: bool) -> None:
    first, second, third = (
        render(replace(CLIP, words=words), shows_words=shows_words) for words in ("one", "one", "two")
    )
    assert first == second != third


def test_files_are_small() -> None:
    clip = replace(CLIP, words=PROMPT)
    assert len(render(clip)) < len(render(clip, shows_words=True)) < 100_000


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(max_size=200), st.text(min_size=1, max_size=20).map(lambda text: (text * 5_000)[:5_000])))
def test_any_prompt_can_be_drawn(text: str) -> None:
    assert draw_words(text, width=640, height=480).size == (640, 480)


@pytest.mark.parametrize(
    "text", ["x" * 5_000, "漢" * 5_000, "word " * 1_000, "\u202e\u0000\n\t" * 1_000, "🎉" * 5_000, ""]
)
def test_long_and_strange_prompts_can_be_drawn_in_full_size(text: str) -> None:
    assert draw_words(text, width=1920, height=1080).size == (1920, 1080)


def test_the_length_of_a_clip_is_the_one_that_was_billed() -> None:
    task = make_task(1, duration=10, generate_audio=False)
    clip = Clip.of(task)
    assert (clip.seconds, clip.has_sound, task.price) == (10.0, False, Decimal("0.60"))
    assert task.id in clip.words
