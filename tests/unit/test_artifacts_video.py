"""Looking into files: real videos, and everything that only claims to be one."""

import io
import os
from decimal import Decimal
from pathlib import Path

import av
import pytest
from PIL import Image

from rushes.artifacts import ExpectedVideo, NotAVideo, VideoFacts, video
from rushes.artifacts.video import probe_video
from tests.videos import make_video

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{video}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile secret.mp4\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period>
<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{video}</BaseURL></Representation>
</AdaptationSet></Period></MPD>
"""


@pytest.mark.parametrize(
    ("file_name", "options", "container"),
    [
        ("a.mp4", {}, "mp4"),
        ("a.mp4", {"movflags": "faststart"}, "mp4"),
        ("a.mp4", {"movflags": "frag_keyframe+empty_moov"}, "mp4"),
        ("a.mov", {}, "mov"),
        ("a.webm", {}, "webm"),
        ("a.webm", {"live": "1"}, "webm"),
        ("a.mkv", {}, "matroska"),
    ],
)
def test_a_video_is_known_whatever_its_container(
    tmp_path: Path, file_name: str, options: dict[str, str], container: str
) -> None:
    path = make_video(tmp_path / file_name, seconds=2, audio=False, options=options)

    facts = probe_video(path.rename(tmp_path / "no-suffix.part")).facts

    assert facts == VideoFacts(container=container, seconds=Decimal(2), width=64, height=48, has_audio=False)
    assert facts.suffix == {"matroska": ".mkv"}.get(container, f".{container}")


def test_sound_is_noticed(tmp_path: Path) -> None:
    assert probe_video(make_video(tmp_path / "a.mp4", audio=True)).facts.has_audio


@pytest.mark.parametrize(
    ("size", "poster_size"), [((64, 48), (64, 48)), ((1920, 1080), (1280, 720)), ((1080, 1920), (1080, 1920))]
)
def test_the_poster_is_the_first_frame_and_no_wider_than_1280(
    tmp_path: Path, size: tuple[int, int], poster_size: tuple[int, int]
) -> None:
    path = make_video(tmp_path / "a.mp4", width=size[0], height=size[1], audio=False)

    with Image.open(io.BytesIO(probe_video(path).poster)) as poster:
        poster.load()

        assert poster.format == "JPEG"
        assert poster.size == poster_size
        # The first picture has luma 40 in video range: (40 - 16) * 255 / 219 = 28 in full range.
        assert poster.getpixel((5, 5)) == pytest.approx((28, 28, 28), abs=3)


def test_one_packet_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=4)
    monkeypatch.setattr(video, "_FIRST_FRAME_PACKETS", 1)

    assert probe_video(path).poster


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
@pytest.mark.parametrize("missing", [1, 100, 0.5])
def test_a_video_that_ends_early_is_refused(tmp_path: Path, options: dict[str, str], missing: float) -> None:
    path = make_video(tmp_path / "a.mp4", options=options)
    size = path.stat().st_size
    os.truncate(path, size - int(missing if missing >= 1 else missing * size))

    with pytest.raises(NotAVideo):
        probe_video(path)


def test_padding_behind_the_last_box_is_harmless(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes() + bytes(50))

    assert probe_video(path).facts.container == "mp4"


def test_a_damaged_first_frame_is_noticed(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    head, mark, tail = path.read_bytes().partition(b"mdat")
    path.write_bytes(head + mark + bytes(len(tail)))

    with pytest.raises(NotAVideo):
        probe_video(path)


@pytest.mark.parametrize("content", [b"", b"<html>gone</html>", b"\0" * 4096, b"\xff\xd8\xff\xe0 no video"])
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)

    with pytest.raises(NotAVideo):
        probe_video(tmp_path / "a.mp4")


def test_sound_without_a_picture_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(20):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1_024)
            frame.planes[0].update(bytes(4_096))
            frame.rate, frame.pts = 48_000, number * 1_024
            container.mux(sound.encode(frame))
        container.mux(sound.encode())

    with pytest.raises(NotAVideo, match="no picture"):
        probe_video(tmp_path / "a.mp4")


def test_a_forged_size_is_refused_before_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setattr(video, "_LARGEST_PIXELS", 64 * 48 - 1)

    with pytest.raises(NotAVideo):
        probe_video(path)


@pytest.mark.parametrize(
    ("file_name", "playlist"), [("a.m3u8", HLS), ("a.ffconcat", CONCAT), ("a.mpd", DASH), ("a.mp4.part", CONCAT)]
)
def test_a_playlist_cannot_make_us_read_another_file(tmp_path: Path, file_name: str, playlist: str) -> None:
    secret = make_video(tmp_path / "secret.mp4")
    path = tmp_path / file_name
    path.write_text(playlist.format(video=secret))

    with pytest.raises(NotAVideo):
        probe_video(path)


def test_even_a_container_that_refers_to_others_cannot_open_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lock behind the list of containers."""
    secret = make_video(tmp_path / "secret.mp4")
    path = tmp_path / "a.m3u8"
    path.write_text(HLS.format(video=secret))
    monkeypatch.setattr(video, "_CONTAINERS", f"hls,{video._CONTAINERS}")

    with pytest.raises(NotAVideo, match="refers to other files"):
        probe_video(path)


@pytest.mark.parametrize(
    ("seconds", "width", "words"),
    [
        ("6", 1920, ()),
        ("6.5", 1920, ()),
        ("4.04", 1920, ("lasts 4.04 s, not 6 s",)),
        ("10", 1080, ("lasts 10 s, not 6 s", "is 1080x1080, not 1920x1080")),
    ],
)
def test_differences_are_told_in_words(seconds: str, width: int, words: tuple[str, ...]) -> None:
    facts = VideoFacts(container="mp4", seconds=Decimal(seconds), width=width, height=1080, has_audio=True)

    assert facts.differences(ExpectedVideo(seconds=Decimal(6), width=1920, height=1080)) == words
