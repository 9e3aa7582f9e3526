"""Looking into files: real videos, and everything that only claims to be one."""

import io
import os
import random
import threading
from decimal import Decimal
from pathlib import Path

import av
import pytest
from PIL import Image

from rushes.artifacts import probe
from rushes.artifacts.errors import NotAVideo, Suspect
from rushes.artifacts.probe import ExpectedVideo, VideoFacts, probe_video
from tests.support.videos import make_audio, make_container, make_video

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


@pytest.mark.parametrize(
    ("muxer", "container", "suffix"),
    [
        ("3g2", "3g2", ".3g2"),
        ("3gp", "3gp", ".3gp"),
        ("apng", "apng", ".apng"),
        ("asf", "asf", ".wmv"),
        ("avi", "avi", ".avi"),
        ("avm2", "swf", ".swf"),
        ("dv", "dv", ".dv"),
        ("dvd", "mpeg", ".mpg"),
        ("f4v", "f4v", ".f4v"),
        ("film_cpk", "film_cpk", ".cpk"),
        ("flv", "flv", ".flv"),
        ("gif", "gif", ".gif"),
        ("gxf", "gxf", ".gxf"),
        ("ipod", "mp4", ".mp4"),
        ("ismv", "mp4", ".mp4"),
        ("ivf", "ivf", ".ivf"),
        ("matroska", "matroska", ".mkv"),
        ("mov", "mov", ".mov"),
        ("mp4", "mp4", ".mp4"),
        ("mpeg", "mpeg", ".mpg"),
        ("mpegts", "mpegts", ".ts"),
        ("mxf", "mxf", ".mxf"),
        ("nut", "nut", ".nut"),
        ("ogg", "ogg", ".ogv"),
        ("rm", "rm", ".rm"),
        ("roq", "roq", ".roq"),
        ("smjpeg", "smjpeg", ".mjpg"),
        ("svcd", "mpeg", ".mpg"),
        ("swf", "swf", ".swf"),
        ("vcd", "mpeg", ".mpg"),
        ("vob", "mpeg", ".mpg"),
        ("webm", "webm", ".webm"),
        ("wtv", "wtv", ".wtv"),
        ("yuv4mpegpipe", "yuv4mpegpipe", ".y4m"),
    ],
)
def test_every_container_of_moving_pictures_is_read(tmp_path: Path, muxer: str, container: str, suffix: str) -> None:
    path = make_container(tmp_path / "no-suffix.part", muxer)

    facts = probe_video(path).facts

    assert (facts.container, facts.suffix) == (container, suffix)
    assert float(facts.seconds) == pytest.approx(1, abs=0.05)


def test_a_recording_may_begin_between_two_whole_pictures(tmp_path: Path) -> None:
    path = make_container(tmp_path / "a.ts", "mpegts")
    content = path.read_bytes()
    # The packet with the first picture goes, and the tables stay.
    start = content.index(b"\x00\x00\x01\x00")  # the start code of an MPEG-2 picture
    packet = start - start % 188
    path.write_bytes(content[:packet] + content[packet + 188 :])

    assert probe_video(path).facts.container == "mpegts"


def test_a_program_stream_with_few_timestamps_is_measured(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mpg", seconds=2, audio=False)

    assert float(probe_video(path).facts.seconds) == pytest.approx(2, abs=0.25)


def test_sound_is_noticed(tmp_path: Path) -> None:
    assert probe_video(make_video(tmp_path / "a.mp4", audio=True)).facts.has_audio


@pytest.mark.parametrize(
    ("size", "poster_size"), [((64, 48), (64, 48)), ((1920, 1080), (640, 360)), ((1080, 1920), (640, 1138))]
)
def test_the_poster_is_the_first_frame_and_no_wider_than_640(
    tmp_path: Path, size: tuple[int, int], poster_size: tuple[int, int]
) -> None:
    path = make_video(tmp_path / "a.mp4", width=size[0], height=size[1], audio=False)

    with Image.open(io.BytesIO(probe_video(path).poster)) as poster:
        poster.load()

        assert poster.format == "JPEG"
        assert poster.size == poster_size
        # The first picture has luma 40 in video range: (40 - 16) * 255 / 219 = 28 in full range.
        assert poster.getpixel((5, 5)) == pytest.approx((28, 28, 28), abs=3)


def test_a_probe_decodes_one_packet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4", seconds=4)
    monkeypatch.setattr(probe, "_FIRST_FRAME_PACKETS", 1)

    assert probe_video(path).poster


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
@pytest.mark.parametrize("missing", [1, 100, 0.5])
@pytest.mark.parametrize("file_name", ["a.mp4", "a.mov"])
def test_a_video_that_ends_early_is_refused(
    tmp_path: Path, file_name: str, options: dict[str, str], missing: float
) -> None:
    path = make_video(tmp_path / file_name, options=options)
    shorten(path, missing)

    with pytest.raises(NotAVideo, match=r"ends early: \d+ bytes of at least \d+") as caught:
        probe_video(path)

    assert caught.value.suspect is Suspect.CUT


@pytest.mark.parametrize("muxer", ["3gp", "avi", "f4v", "matroska", "webm"])
@pytest.mark.parametrize("missing", [10, 0.5])
def test_other_containers_that_name_their_length_may_not_end_early(tmp_path: Path, muxer: str, missing: float) -> None:
    path = make_container(tmp_path / "a.part", muxer)
    shorten(path, missing)

    with pytest.raises(NotAVideo, match="ends early") as caught:
        probe_video(path)

    assert caught.value.suspect is Suspect.CUT


def test_a_video_that_ends_between_two_boxes_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])

    with pytest.raises(NotAVideo, match="ends early") as caught:
        probe_video(path)

    assert caught.value.suspect is Suspect.CUT


def shorten(path: Path, missing: float) -> None:
    size = path.stat().st_size
    os.truncate(path, size - int(missing if missing >= 1 else missing * size))


@pytest.mark.parametrize("padding", [3, 50])
def test_padding_behind_the_last_box_is_harmless(tmp_path: Path, padding: int) -> None:
    path = make_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes() + bytes(padding))

    assert probe_video(path).facts.container == "mp4"


def test_a_damaged_first_frame_is_noticed(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    head, mark, tail = path.read_bytes().partition(b"mdat")
    path.write_bytes(head + mark + bytes(len(tail)))

    with pytest.raises(NotAVideo):
        probe_video(path)


@pytest.mark.parametrize(
    ("content", "content_type", "suspect", "words"),
    [
        (b"", "", Suspect.FILE, "not a playable video"),
        (b"\0" * 4096, "", Suspect.FILE, "not a playable video"),
        (random.Random(1).randbytes(100_000), "video/mp4", Suspect.FILE, "not a playable video"),
        (b"\xff\xd8\xff\xe0 no video", "", Suspect.FILE, "not a playable video"),
        (b"The free lunch is over.", "text/plain", Suspect.FILE, "not a playable video"),
        (b"\xef\xbb\xbf\n <!DOCTYPE html><p>gone", "", Suspect.DOCUMENT, "is a web page, not a video"),
        (b"<HTML>gone", "text/html", Suspect.DOCUMENT, r"is a web page \(text/html\), not a video"),
        (b"gone", "text/html", Suspect.DOCUMENT, "is a web page"),
        (b"gone", "application/xhtml+xml", Suspect.DOCUMENT, "is a web page"),
        (b'<?xml version="1.0"?><Error/>', "", Suspect.DOCUMENT, "is an XML document"),
        (b"<Error>" + "\u00e9".encode() * 400, "", Suspect.DOCUMENT, "is an XML document"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml", Suspect.DOCUMENT, "is an XML document"),
        (b'{"code": 404}', "", Suspect.DOCUMENT, "is a JSON document"),
        (b"[1]", "", Suspect.DOCUMENT, "is a JSON document"),
        (b"-", "application/problem+json", Suspect.DOCUMENT, "is a JSON document"),
        (b"{\xff\xfe", "", Suspect.FILE, "not a playable video"),
    ],
)
def test_bytes_that_are_no_video_are_refused(
    tmp_path: Path, content: bytes, content_type: str, suspect: Suspect, words: str
) -> None:
    (tmp_path / "a.mp4").write_bytes(content)

    with pytest.raises(NotAVideo, match=words) as caught:
        probe_video(tmp_path / "a.mp4", content_type=content_type)

    assert caught.value.suspect is suspect


def test_a_video_is_a_video_whatever_the_host_calls_it(tmp_path: Path) -> None:
    assert probe_video(make_video(tmp_path / "a.mp4"), content_type="text/html").facts.container == "mp4"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF", "BMP", "TIFF"])
def test_a_still_image_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.mp4").write_bytes(draw(kind))

    with pytest.raises(NotAVideo, match=rf"is a still image \(.*{kind.lower()}") as caught:
        probe_video(tmp_path / "a.mp4")

    assert caught.value.suspect is Suspect.FILE


@pytest.mark.parametrize("kind", ["GIF", "PNG", "AVIF"])
def test_a_moving_image_is_a_video(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.mp4").write_bytes(draw(kind, pictures=4))

    assert probe_video(tmp_path / "a.mp4").facts.seconds == Decimal("0.4")


def draw(kind: str, *, pictures: int = 1) -> bytes:
    content = io.BytesIO()
    first, *others = (Image.new("RGB", (64, 48), (50 * number, 0, 0)) for number in range(pictures))
    moving = {"save_all": True, "append_images": others, "duration": 100} if others else {}
    first.save(content, kind, **moving)
    return content.getvalue()


@pytest.mark.parametrize(
    ("muxer", "codec"),
    [
        ("ipod", "aac"),
        ("matroska", "libopus"),
        ("ogg", "libopus"),
        ("mp3", "libmp3lame"),
        ("wav", "pcm_s16le"),
        ("flac", "flac"),
        ("adts", "aac"),
    ],
)
def test_sound_without_a_picture_is_refused(tmp_path: Path, muxer: str, codec: str) -> None:
    path = make_audio(tmp_path / "a.mp4", muxer, codec)

    with pytest.raises(NotAVideo, match="is audio without a picture") as caught:
        probe_video(path)

    assert caught.value.suspect is Suspect.FILE


@pytest.mark.parametrize(("muxer", "codec"), [("mp4", "aac"), ("mp3", "libmp3lame"), ("flac", "flac")])
def test_the_cover_of_a_song_is_no_video(tmp_path: Path, muxer: str, codec: str) -> None:
    path = make_audio(tmp_path / "a.mp4", muxer, codec, cover=draw("JPEG"))
    with av.open(str(path)) as container:
        assert container.streams.video

    with pytest.raises(NotAVideo, match="is audio without a picture"):
        probe_video(path)


def test_a_forged_size_is_refused_before_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setattr(probe, "_LARGEST_PIXELS", 64 * 48 - 1)

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
    monkeypatch.setattr(probe, "CONTAINERS", f"hls,{probe.CONTAINERS}")

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
def test_differences_are_reported_in_words(seconds: str, width: int, words: tuple[str, ...]) -> None:
    facts = VideoFacts(container="mp4", seconds=Decimal(seconds), width=width, height=1080, has_audio=True)

    assert facts.differences(ExpectedVideo(seconds=Decimal(6), width=1920, height=1080)) == words


def test_a_probe_waits_for_a_core_but_not_forever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_TURN_SECONDS", 0.01)
    taken = threading.BoundedSemaphore(1)
    monkeypatch.setattr(probe, "_cores", taken)
    film = make_video(tmp_path / "a.mp4")
    with taken:
        assert probe_video(film).facts.container == "mp4"
    probe_video(film)
    assert taken.acquire(blocking=False)  # every turn was given back
