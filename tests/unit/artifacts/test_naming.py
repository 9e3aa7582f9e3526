"""Names of artifacts."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.artifacts.naming import SLUG_LIMIT, check_name, duplicate_name, poster_name, unverified_name, video_name
from rushes.errors import InvalidInput
from rushes.jobs.pushing import BATCH_NAME

JOB = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


@pytest.mark.parametrize(
    ("prompt", "batch", "number", "total", "name"),
    [
        ("A fox, running!", "Spring-Ads", 7, 120, "Spring-Ads/007-a-fox-running.mp4"),
        ("A fox", "spring", 7, None, "spring/7-a-fox.mp4"),
        ("A fox", None, None, None, "jobs/a-fox-01890a5dac96774bbcceb302099a8057.mp4"),
        ("Лиса в снегу", "b", 1, 1, "b/1-lisa-v-snegu.mp4"),
        ("狐狸", "b", 1, 1, "b/1-hu-li.mp4"),
        ("🦊", "b", 1, 1, "b/1-video.mp4"),
        ("../../etc/passwd", "b", 1, 1, "b/1-etc-passwd.mp4"),
    ],
)
def test_names_are_readable(prompt: str, batch: str | None, number: int | None, total: int | None, name: str) -> None:
    assert video_name(job_id=JOB, prompt=prompt, batch=batch, number=number, total=total) == name


def test_a_stem_of_the_caller_names_the_file() -> None:
    assert video_name(job_id=JOB, prompt="A fox", batch="b", number=7, stem="TEST-001") == "b/TEST-001.mp4"
    assert video_name(job_id=JOB, prompt="A fox", stem="TEST-001") == f"jobs/TEST-001-{JOB.hex}.mp4"


def test_a_long_prompt_is_cut_between_words() -> None:
    name = video_name(job_id=JOB, prompt="seagulls over water " * 200, batch="b", number=1)

    slug = name.removeprefix("b/1-").removesuffix(".mp4")
    assert len(slug) <= SLUG_LIMIT
    assert set(slug.split("-")) == {"seagulls", "over", "water"}


@given(
    prompt=st.text(),
    batch=st.none() | st.from_regex(BATCH_NAME, fullmatch=True),
    number=st.integers(1, 10**6),
)
def test_every_prompt_gives_a_name_that_stays_in_the_store(prompt: str, batch: str | None, number: int) -> None:
    name = video_name(job_id=uuid4(), prompt=prompt, batch=batch, number=number, total=10**6)

    assert str(check_name(name)) == name
    assert name.isascii()
    assert len(check_name(name).parts) == 2


def test_a_poster_lies_next_to_its_video() -> None:
    assert poster_name("b/1-a-fox.mp4") == "b/1-a-fox.jpg"


def test_a_file_that_is_no_video_lies_in_the_place_of_its_video() -> None:
    name = unverified_name("b/1-a-fox.mp4", sha256="0123456789abcdef")
    assert name == "b/1-a-fox.0123456789ab.unverified"
    second = unverified_name(duplicate_name("b/1-a-fox.mp4", purchase=2), sha256="0123456789abcdef")
    assert second == "b/1-a-fox.duplicate-2.0123456789ab.unverified"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../a",
        "a/../../b",
        "a/../b",
        "/etc/passwd",
        "a//b",
        "a/",
        "./a",
        "a\0b",
        "a\nb",
        ".incoming/a",
        "a\\b",
    ],
)
def test_a_name_that_could_leave_the_store_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name)


def test_a_name_that_no_disk_takes_is_refused() -> None:
    with pytest.raises(InvalidInput, match="255 bytes"):
        check_name("a/" + "é" * 128)
